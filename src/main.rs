//! The `truc` binary.
fn main() {}
