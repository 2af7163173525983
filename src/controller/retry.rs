//! After an error: how long to wait, by its class and by how often it came in a row.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::effects::Error;

/// The longest pause.
const MAX: Duration = Duration::from_mins(1);

/// Counts the failures in a row of each policy.
#[derive(Debug, Default)]
pub(super) struct Backoff(Mutex<HashMap<String, u32>>);

impl Backoff {
    /// A turn of the policy came to an end.
    pub(super) fn succeeded(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// A turn of the policy did not; how long to wait before the next.
    pub(super) fn failed(&self, uid: &str, error: &Error) -> Duration {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures
            .entry(uid.to_owned())
            .and_modify(|n| *n = n.saturating_add(1))
            .or_insert(1);
        let first = match error {
            // Somebody else has just written: looking again at once is the whole remedy.
            Error::Conflict { .. } => Duration::from_millis(100),
            Error::Fenced
            | Error::TimedOut { .. }
            | Error::Kubernetes { .. }
            | Error::Postgres { .. }
            | Error::Store { .. } => Duration::from_secs(1),
            Error::Refused(_) | Error::Unusable(_) | Error::Broken(_) => Duration::from_secs(10),
        };
        first.saturating_mul(1 << (*count - 1).min(10)).min(MAX)
    }
}
