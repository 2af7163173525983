//! The primary is replaced while a rotation runs: in each phase, by a standby that is up to date or late, direct and
//! through a store, with the controller killed at that moment or not. Applications that log in all the time may find no
//! server for a moment, and never one that refuses their password.

#![allow(clippy::indexing_slicing, reason = "a helper that fails fails its test")]

mod direct;
mod evicted;
mod outage;
#[allow(dead_code, reason = "shared with the tests of store-first delivery")]
#[path = "../store_first/place.rs"]
mod place;
mod restored;
mod row;
#[allow(dead_code, reason = "shared with the tests of direct delivery")]
#[path = "../cluster/scene.rs"]
mod scene;
mod store_first;
