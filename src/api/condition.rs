//! Conditions as kstatus, Argo CD and Flux read them: one constructor, and equality without time.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::status::to_the_second;

/// The credential is in order and the policy can rotate.
pub const READY: &str = "Ready";
/// Work is under way.
pub const RECONCILING: &str = "Reconciling";
/// Work cannot go on without somebody's help.
pub const STALLED: &str = "Stalled";
/// Everything a rotation needs was found in order when last looked at.
pub const PREFLIGHT: &str = "Preflight";
/// The credential in the application Secret logs in, and the one that was retired does not.
pub const CREDENTIALS_IN_SYNC: &str = "CredentialsInSync";

/// Largest message that the API server takes.
const MAX_MESSAGE: usize = 32_768;

/// A condition that changed now; [`merged`] keeps the old time where the status did not change.
#[must_use]
pub fn condition(
    type_: &str,
    holds: bool,
    reason: &str,
    message: &str,
    generation: i64,
    now: Timestamp,
) -> Condition {
    let mut message = message.to_owned();
    if message.len() > MAX_MESSAGE {
        let end = message.floor_char_boundary(MAX_MESSAGE);
        message.truncate(end);
    }
    Condition {
        type_: type_.to_owned(),
        status: if holds { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: Some(generation),
        last_transition_time: to_the_second(now),
    }
}

/// The new conditions, each with the time at which its status last changed.
#[must_use]
pub fn merged(old: &[Condition], new: Vec<Condition>) -> Vec<Condition> {
    new.into_iter()
        .map(|mut condition| {
            let before = old
                .iter()
                .find(|c| c.type_ == condition.type_ && c.status == condition.status);
            if let Some(before) = before {
                condition.last_transition_time = before.last_transition_time.clone();
            }
            condition
        })
        .collect()
}
