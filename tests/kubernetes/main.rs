//! The Kubernetes side of the effects, against a real API server, its controllers and its kubelet.

mod access;
mod consumers;
mod journal;
mod publish;
mod rollout;
mod scene;
mod secret;
