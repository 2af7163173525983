//! The shipped Deployment, a real External Secrets Operator and AWS Secrets Manager, emulated: the credential goes
//! through the store, and applications that log in all the time do not notice.

#![allow(clippy::indexing_slicing, reason = "a helper that fails fails its test")]

mod bad_input;
mod cases;
mod cases_interrupted;
mod cases_refused;
mod failure_modes;
#[allow(
    dead_code,
    unreachable_pub,
    reason = "the simulator shows it to the explorer, and here nobody else looks"
)]
#[path = "../sim/happy.rs"]
mod happy;
mod killed;
#[path = "../cluster/leaks.rs"]
mod leaks;
mod place;
mod refused;
mod rights;
mod rotation;
#[allow(dead_code, reason = "shared with the tests of direct delivery")]
#[path = "../cluster/scene.rs"]
mod scene;
mod secrets;
mod still;
mod traps;
mod traps_made_anew;
#[path = "../cluster/used.rs"]
mod used;
