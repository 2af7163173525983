//! AWS Secrets Manager in the lab: that it keeps to the documentation, and that it fails as it is told to.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "this is how a test fails, in its helpers too"
)]

mod contract;
mod memory;
mod mishaps;
mod place;
mod raw;
mod roles;
