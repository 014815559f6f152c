//! Arbitrary changes of the bytes of a log and its indexes: opening it never panics and never
//! invents a message.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../store/mutated.rs"]
mod mutated;

fuzz_target!(|data: &[u8]| mutated::check(data));
