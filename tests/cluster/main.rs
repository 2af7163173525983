//! The shipped Deployment on a real cluster, with real PostgreSQL and applications that log in all the time.

#![allow(clippy::indexing_slicing, reason = "a helper that fails fails its test")]

mod away;
mod bad_input;
mod crowd;
mod failure_modes;
#[expect(
    dead_code,
    unreachable_pub,
    reason = "the simulator shows it to the explorer, and here nobody else looks"
)]
#[path = "../sim/happy.rs"]
mod happy;
mod headroom;
mod hurry;
mod killed;
mod leaks;
mod narrowed;
mod rights;
mod scene;
mod secrets_stay_secret;
mod used;
