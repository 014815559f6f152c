//! The management API over HTTP, as an operator's programs speak it.

mod support;

mod access;
mod definitions;
mod vhosts;
