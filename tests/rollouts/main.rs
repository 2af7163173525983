//! Rollouts of every shape on a real cluster: what is restarted and how, what holds it up, and who takes it back, with
//! applications that log in all the time.

#![allow(clippy::indexing_slicing, reason = "a helper that fails fails its test")]

mod argo;
mod others;
#[allow(dead_code, reason = "shared with the tests of the shipped Deployment")]
#[path = "../cluster/scene.rs"]
mod scene;
mod shapes;
mod stuck;
mod taken_back;
