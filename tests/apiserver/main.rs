//! The exact requests of each write, and what answers mean; nothing more is ever asked.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]

mod delivery;
mod journal;
mod operator;
mod publish;
mod reverts;
mod server;
mod workloads;
