//! Stakater Reloader in the lab: that the double does what the real one was seen to do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "this is how a test fails, in its helpers too"
)]

mod contract;
mod corner;
mod given;
mod installed;
mod jobs;
mod namespaces;
mod observe;
mod promptly;
mod replicas;
mod rollouts;
mod stage;
mod webhook;
