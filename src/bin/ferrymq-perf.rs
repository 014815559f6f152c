//! The program `ferrymq-perf`.

fn main() {}
