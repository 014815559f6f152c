//! The store on disk, from outside: what was committed is there after every kind of end and damage.
//!
//! * `survival`  clean ends, crashes, segments that come and go

mod support;
mod survival;
