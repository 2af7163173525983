//! The shipped Deployment on a real cluster, with real PostgreSQL and applications that log in all the time.

mod bad_input;
mod failure_modes;
#[path = "../sim/happy.rs"]
mod happy;
mod killed;
mod rights;
mod scene;
mod secrets_stay_secret;
