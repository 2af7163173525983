//! The way back, on the shipped Deployment: a rotation that fails or is given up puts the credential from before back,
//! and applications that log in all the time do not notice.

#![allow(clippy::indexing_slicing, reason = "a helper that fails fails its test")]

mod by_hand;
mod failed;
#[allow(
    dead_code,
    unreachable_pub,
    reason = "the simulator shows it to the explorer, and here nobody else looks"
)]
#[path = "../sim/happy.rs"]
mod happy;
mod killed;
#[allow(dead_code, reason = "shared with the tests of store-first delivery")]
#[path = "../store_first/place.rs"]
mod place;
#[allow(dead_code, reason = "shared with the tests of direct delivery")]
#[path = "../cluster/scene.rs"]
mod scene;
mod way;
