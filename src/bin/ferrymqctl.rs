//! The program `ferrymqctl`.

fn main() {}
