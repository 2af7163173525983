//! The real surroundings.
//! bin
fn main() {}
