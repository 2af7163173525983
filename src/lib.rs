//! Tandem rotates PostgreSQL credentials with two users that alternate. The house, in the order in which data flows;
//! imports only point up this list:
//!
//! 1. [`api`]: the words users write and read.
//! 2. [`policy`]: what they mean, parsed once.
//! 3. [`machine`]: the thought; pure, it decides the one thing to do next.
//! 4. [`effects`]: the hands; the only input and output.
//! 5. [`controller`]: the pulse; it makes the machine turn.

pub mod api;
pub mod controller;
pub mod effects;
pub mod machine;
pub mod policy;
pub mod sensitive;
