//! The store on disk, from outside: what was committed is there after every kind of end and damage.
//!
//! * `survival`  clean ends, crashes, segments that come and go
//! * `damage`    torn tails, flipped bytes, a broken catalog, another version's files
//! * `failure`   writes that fail, the end, one process at a time
//! * `model`     random operations and ends against a naive model

mod crash_points;
mod damage;
mod failure;
mod model;
mod paging;
mod support;
mod survival;
