//! The shipped Deployment, a real External Secrets Operator and AWS Secrets Manager, emulated: the credential goes
//! through the store, and applications that log in all the time do not notice.

#![allow(clippy::indexing_slicing, reason = "a helper that fails fails its test")]

mod place;
mod refused;
mod rotation;
#[allow(dead_code, reason = "shared with the tests of direct delivery")]
#[path = "../cluster/scene.rs"]
mod scene;
mod still;
mod traps;
mod traps_made_anew;
