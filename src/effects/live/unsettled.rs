//! Changes of roles whose outcome is unknown, and which the server may still make.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::effects::Error;
use crate::machine::Action;

/// Until when such a change may still be made, for each policy. A process that is killed forgets it: the next one begins
/// to write only when the lease is over that the change was sent under, and the server refuses the change by then.
#[derive(Debug, Default)]
pub(super) struct Unsettled(Mutex<HashMap<String, Instant>>);

impl Unsettled {
    /// Takes in how a write ended.
    pub(super) fn note<T>(&self, policy: &str, action: &Action, ended: &Result<T, Error>, left: Duration) {
        let changes = matches!(action, Action::SetVerifier { .. } | Action::Retire { .. });
        if changes && ended.is_err() {
            let until = Instant::now() + left;
            self.held().insert(policy.to_owned(), until);
        }
    }

    /// # Errors
    /// While a change may still be made.
    pub(super) fn check(&self, policy: &str) -> Result<(), Error> {
        let mut held = self.held();
        let Some(until) = held.get(policy) else {
            return Ok(());
        };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            held.remove(policy);
            return Ok(());
        }
        Err(Error::TimedOut {
            what: "a change of a role, which the server may still make and which is waited for,".into(),
            seconds: left.as_secs(),
        })
    }

    /// Forgets a policy.
    pub(super) fn forget(&self, policy: &str) {
        self.held().remove(policy);
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::target::RoleName;

    #[tokio::test(start_paused = true)]
    async fn only_a_change_of_unknown_outcome_is_waited_for_and_only_so_long() {
        let unsettled = Unsettled::default();
        let change = Action::SetVerifier {
            user: RoleName::new("app_b").unwrap(),
        };
        let flip = Action::Flip { version: "1".into() };
        let left = Duration::from_secs(10);
        unsettled.note("p", &change, &Ok(()), left);
        unsettled.note("p", &flip, &Err::<(), _>(Error::Fenced), left);
        assert!(unsettled.check("p").is_ok());
        unsettled.note("p", &change, &Err::<(), _>(Error::Fenced), left);
        assert!(unsettled.check("p").is_err());
        assert!(unsettled.check("another").is_ok());
        tokio::time::advance(left).await;
        assert!(unsettled.check("p").is_ok());
    }
}
