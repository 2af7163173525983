//! The same scripts on the simulated world and on the real one. What the simulation proves holds of the real world as
//! far as both answer alike, and that is what is tested here: every look, every write with its guard held and with its
//! guard broken, and what people and surroundings do in between.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "this is how a test fails, in its helpers too"
)]

mod meddling;
mod observe;
mod place;
mod real;
mod scripts;
#[path = "../sim/mod.rs"]
mod sim;
mod simulated;
mod surroundings;
mod writes;
