//! Unbroken series of quiet polls, as this process has seen them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::machine::facts::Quiet;

/// The running series of each rotation.
#[derive(Debug, Default)]
pub(super) struct Series(Mutex<HashMap<String, Run>>);

#[derive(Debug)]
struct Run {
    rotation: u64,
    first: Instant,
    last: Instant,
    polls: u32,
}

impl Series {
    /// Takes in one poll. A session ends the series; so does a gap, since nobody knows what happened in it. Elapsed
    /// time is measured by the monotonic clock: a clock that is set forward proves nothing.
    pub(super) fn poll(
        &self,
        policy: &str,
        rotation: u64,
        quiet: bool,
        gap: Duration,
        now: Timestamp,
    ) -> Option<Quiet> {
        let at = Instant::now();
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !quiet {
            runs.remove(policy);
            return None;
        }
        let run = runs.entry(policy.to_owned()).or_insert(Run {
            rotation,
            first: at,
            last: at,
            polls: 0,
        });
        if run.rotation != rotation || at.duration_since(run.last) > gap {
            *run = Run {
                rotation,
                first: at,
                last: at,
                polls: 0,
            };
        }
        run.last = at;
        run.polls = run.polls.saturating_add(1);
        let elapsed = SignedDuration::try_from(at.duration_since(run.first)).unwrap_or(SignedDuration::ZERO);
        Some(Quiet {
            since: now.checked_sub(elapsed).unwrap_or(now),
            polls: run.polls,
        })
    }

    /// Forgets the series of a policy.
    pub(super) fn end(&self, policy: &str) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(policy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn only_an_unbroken_series_of_one_rotation_counts() {
        let series = Series::default();
        let poll = |rotation, quiet| {
            series
                .poll("p", rotation, quiet, GAP, Timestamp::UNIX_EPOCH)
                .map(|q| q.polls)
        };
        assert_eq!(poll(1, true), Some(1));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!(poll(1, true), Some(2));
        assert_eq!(poll(1, false), None, "a session ends it");
        assert_eq!(poll(1, true), Some(1));
        tokio::time::advance(Duration::from_secs(11)).await;
        assert_eq!(poll(1, true), Some(1), "so does a gap");
        assert_eq!(poll(2, true), Some(1), "and another rotation");
    }
}
