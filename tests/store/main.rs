//! The store half of store-first delivery, on the wire: against the lab's AWS Secrets Manager.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "this is how a test fails, in its helpers too"
)]

mod bad_input;
mod callers;
mod environment;
mod mishaps;
mod protocol;
mod rights;
mod scene;
mod secrecy;
