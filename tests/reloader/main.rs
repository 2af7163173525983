//! Tandem beside Stakater Reloader: the shipped Deployment with exactly its rights, real rollouts, and applications that
//! log in all the time. Every consumer is restarted once, whoever does it, whether Reloader runs, is late, or is gone.

#![allow(clippy::indexing_slicing, reason = "a helper that fails fails its test")]

mod annotations;
mod beside;
mod cases;
mod held_up;
#[allow(dead_code, reason = "shared with the tests of store-first delivery")]
#[path = "../store_first/place.rs"]
mod place;
mod rules;
#[allow(dead_code, reason = "shared with the tests of direct delivery")]
#[path = "../cluster/scene.rs"]
mod scene;
mod store_first;
