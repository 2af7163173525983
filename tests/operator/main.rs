//! Tandem beside the real External Secrets Operator: asking it to sync, judging what came of it, and refusing beforehand
//! what could not. Tandem has exactly the rights that `tandem rbac` prints.
//!
//! The names carry the numbers of the compatibility cases ("case") and of external-secrets-observed ("seen").

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a helper that fails fails its test"
)]

mod blind;
mod cluster_wide;
mod mishaps;
mod preflight;
mod scene;
mod sync;
mod versions;
