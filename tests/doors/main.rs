//! Every door the applications use on a real cluster: rotations with replicas from which applications read all the time.

#![allow(clippy::indexing_slicing, reason = "a helper that fails fails its test")]

mod replicas;
#[allow(dead_code, reason = "shared with the tests of the shipped Deployment")]
#[path = "../cluster/scene.rs"]
mod scene;
