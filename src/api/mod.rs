//! Words: what users write and read. Serde and schema only; nothing here decides.

pub mod condition;
pub mod endpoint;
pub mod spec;
pub mod status;

use jiff::Timestamp;

pub use spec::{RotationPolicy, RotationPolicySpec};
pub use status::RotationPolicyStatus;

/// API group of the custom resource, and prefix of every annotation that Tandem reads or writes.
pub const GROUP: &str = "tandem.dev";
/// Kept on a policy so that its deletion is told in an Event before the journal goes with it.
pub const FINALIZER: &str = "tandem.dev/finish";
/// Field manager of every server-side apply.
pub const FIELD_MANAGER: &str = "tandem";
/// Annotation on a policy: any value not handled before starts one rotation.
pub const ROTATE_NOW: &str = "tandem.dev/rotate-now";
/// Annotation on a policy, beside [`ROTATE_NOW`]: how much the rotation that this starts may disturb.
pub const ROTATE_MODE: &str = "tandem.dev/rotate-mode";
/// Annotation on a policy: any value not handled before gives the running rotation up.
pub const ABORT: &str = "tandem.dev/abort";
/// Annotation on the application Secret: `<policy uid>/<rotation number>/<resourceVersion that was replaced>` of the
/// delivery of its credential. No two deliveries replace the same version.
pub const DELIVERED_BY: &str = "tandem.dev/delivered-by";
/// Annotation on the application Secret: the rotate-now value that the delivering rotation answers.
pub const DELIVERED_FOR: &str = "tandem.dev/delivered-for";
/// API group of External Secrets Operator's objects.
pub const OPERATOR_GROUP: &str = "external-secrets.io";
/// API group of Argo Rollouts' objects.
pub const ROLLOUTS_GROUP: &str = "argoproj.io";
/// Annotation that asks External Secrets Operator to sync, on the `ExternalSecret` or on the `ClusterExternalSecret` that
/// owns it: the one key that a `ClusterExternalSecret` passes on.
pub const FORCE_SYNC: &str = "external-secrets.io/force-sync";
/// `ConfigMap` in which every instance of Stakater Reloader publishes how it was started, in its own namespace.
pub const RELOADER_META_INFO: &str = "reloader-meta-info";
/// Lease of the instances of Reloader that share their work, in their namespace.
pub const RELOADER_LEASE: &str = "stakater-reloader-lock";
/// Type of the journal Secret.
pub const JOURNAL_TYPE: &str = "tandem.dev/journal";

/// Name of the journal Secret of a policy.
#[must_use]
pub fn journal_name(policy: &str) -> String {
    format!("{policy}-tandem")
}

/// Pod-template annotation that marks a restart. One key per policy, so that two policies on one workload
/// never overwrite each other's mark and restart it in turns for ever.
#[must_use]
pub fn restart_key(policy: &str) -> String {
    format!("rotation.tandem.dev/{policy}")
}

/// The restart mark of one delivery: `<policy uid>.<rotation number>.<id of the delivery>`. Restarting twice for
/// one delivery is the same write. A delivery that had to be made again, because somebody had put the old credential
/// back, has a mark of its own: pods that started in between carry the old mark and the old credential.
#[must_use]
pub fn restart_mark(policy_uid: &str, number: u64, delivery: Option<&str>) -> String {
    match delivery {
        Some(delivery) => format!("{policy_uid}.{number}.{delivery}"),
        None => format!("{policy_uid}.{number}"),
    }
}

/// A request to sync: `<policy uid>.<rotation number>.<how many times>.<second>`, which is never used twice.
#[must_use]
pub fn sync_request(policy_uid: &str, number: u64, times: u32, at: Timestamp) -> String {
    format!("{policy_uid}.{number}.{times}.{}", at.as_second())
}

/// What [`sync_request`] said, when it was one of this rotation's.
#[must_use]
pub fn read_sync_request(text: &str, policy_uid: &str, number: u64) -> Option<(u32, Timestamp)> {
    let mut parts = text.strip_prefix(policy_uid)?.strip_prefix('.')?.split('.');
    let (named, times, second) = (parts.next()?, parts.next()?, parts.next()?);
    (parts.next().is_none() && named.parse() == Ok(number)).then_some(())?;
    Some((
        times.parse().ok()?,
        Timestamp::from_second(second.parse().ok()?).ok()?,
    ))
}
