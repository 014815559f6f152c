//! The management API over HTTP, as an operator's programs speak it.

mod support;

mod access;
mod features;
mod limits;
mod parameters;
mod permissions;
mod policies;
mod users;
mod vhosts;
