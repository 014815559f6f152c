//! The program `ferrymq`.

fn main() {}
