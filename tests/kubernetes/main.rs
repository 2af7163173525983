//! The Kubernetes side of the effects, against a real API server, its controllers and its kubelet.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]

mod access;
mod consumers;
mod journal;
mod publish;
mod reloader;
mod rollout;
mod scene;
mod secret;
mod userlist;
