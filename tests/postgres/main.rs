//! The SQL side against real servers: PostgreSQL 14 to 18 in the lab.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "this is how a test fails, in its helpers too"
)]

mod changes;
mod copies;
mod functions;
mod kept;
mod logins;
mod mishaps;
mod parity;
mod poolers;
mod proxy;
mod replicas;
mod rights;
mod room;
mod scene;
mod secrecy;
mod sessions;
mod sqlstates;
mod trust;
