//! A queue against naive models: random operations, the same answers.
//!
//! * `state`     the random operations on a queue's state, and what is compared after each
//! * `operation` what they are
//! * `picking`   what operators do to it
//! * `model`     the same rules in the plainest form
//! * `stories`   single cases that were bugs, or would be
//! * `queue`     random operations on a queue with options, a consumer and dead letters
//! * `whole`     a queue with its options and consumers, on `store`, as `fixture` makes it
//! * `deduplication` random publishes of several clients whose batches are written in any order
//!
//! Time is an argument, so that a run depends on nothing but its operations. A run that fails
//! prints those that lead to it, made as few as they get, and the seed they came from.

mod deduplication;
mod fixture;
mod model;
mod operation;
mod picking;
mod queue;
mod state;
mod store;
mod stories;
mod support;
mod whole;
