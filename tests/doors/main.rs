//! Every door the applications use on a real cluster: rotations with replicas and poolers that applications use all the time.

#![allow(clippy::indexing_slicing, reason = "a helper that fails fails its test")]

mod matrix;
mod poolers;
mod replicas;
#[allow(dead_code, reason = "shared with the tests of the shipped Deployment")]
#[path = "../cluster/scene.rs"]
mod scene;
mod userlist;
