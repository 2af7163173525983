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
    /// Takes in one poll that was begun at `began` and has just ended. A session ends the series; so does a gap, since
    /// nobody knows what happened in it. The poll itself is none, however long a busy server takes for it; nor is that
    /// time quiet time, since when in it the server counted is not known. Time is measured by the monotonic clock: a
    /// clock that is set forward proves nothing.
    pub(super) fn poll(
        &self,
        policy: &str,
        rotation: u64,
        quiet: bool,
        (began, gap): (Instant, Duration),
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
        if run.rotation != rotation || began.saturating_duration_since(run.last) > gap {
            *run = Run {
                rotation,
                first: at,
                last: at,
                polls: 0,
            };
        }
        run.last = at;
        run.polls = run.polls.saturating_add(1);
        let elapsed = began.saturating_duration_since(run.first);
        let elapsed = SignedDuration::try_from(elapsed).unwrap_or(SignedDuration::ZERO);
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
                .poll("p", rotation, quiet, (Instant::now(), GAP), Timestamp::UNIX_EPOCH)
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

    #[tokio::test(start_paused = true)]
    async fn a_server_that_takes_its_time_breaks_no_series_and_makes_none_longer() {
        let series = Series::default();
        let now = Timestamp::UNIX_EPOCH;
        let poll = async || {
            let began = Instant::now();
            tokio::time::advance(GAP * 2).await;
            let quiet = series.poll("p", 1, true, (began, GAP), now);
            quiet.map(|q| (q.polls, now.duration_since(q.since)))
        };
        assert_eq!(poll().await, Some((1, SignedDuration::ZERO)));
        assert_eq!(poll().await, Some((2, SignedDuration::ZERO)));
        // The poll between the first and the last counts.
        assert_eq!(poll().await, Some((3, SignedDuration::from_secs(20))));
    }
}
