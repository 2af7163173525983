//! Tandem rotates PostgreSQL credentials with two users that alternate. The house, in the order in which data flows;
//! imports only point up this list:
//!
//! 1. [`api`]: the words users write and read.
//! 2. [`policy`]: what they mean, parsed once.
//! 3. [`machine`]: the thought; pure, it decides the one thing to do next.
//! 4. [`manifest`]: what is generated from the words: the CRD, and the Role of a policy.
//! 5. [`telemetry`]: the voice; logs, metrics, health.
//! 6. [`effects`]: the hands; the only input and output.
//! 7. [`controller`]: the pulse; it makes the machine turn.
//! 8. [`args`]: flags, and the wiring of everything.

#![deny(clippy::disallowed_methods)]

pub mod api;
pub mod args;
pub mod controller;
pub mod effects;
pub mod machine;
pub mod manifest;
pub mod policy;
pub mod sensitive;
pub mod telemetry;
