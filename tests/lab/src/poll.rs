//! Waiting for something to become true.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const PAUSE: Duration = Duration::from_millis(200);

/// Asks until the answer is there, and fails with what was last seen when the time is over.
///
/// `Ok(None)` and `Err` both mean *not yet*; an error's text is what the failure reports as last seen, so a probe
/// says `bail!("phase is {phase}")` where it can.
///
/// # Errors
/// When the time is over.
pub async fn eventually<T>(
    what: impl Display,
    timeout: Duration,
    mut probe: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + timeout;
    let mut last_seen = None;
    loop {
        // A probe that hangs must not outlast the deadline by much.
        let left = deadline.saturating_duration_since(Instant::now()).max(PAUSE);
        match tokio::time::timeout(left, probe()).await {
            Ok(Ok(Some(answer))) => return Ok(answer),
            Ok(Ok(None)) => {}
            Ok(Err(error)) => last_seen = Some(format!("{error:#}")),
            Err(_) => last_seen = Some(last_seen.unwrap_or_else(|| "no answer".to_owned())),
        }
        if Instant::now() >= deadline {
            let last_seen = last_seen
                .map(|seen| format!("; last seen: {seen}"))
                .unwrap_or_default();
            bail!("waited {} s for {what}{last_seen}", timeout.as_secs_f32());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_answer_ends_the_wait() {
        let mut asked = 0;
        let answer = eventually("three", Duration::from_secs(5), async || {
            asked += 1;
            Ok((asked == 3).then_some(asked))
        });
        assert_eq!(answer.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn a_wait_that_fails_says_what_it_saw_last() {
        let waited = eventually::<()>("rain", Duration::from_millis(10), async || bail!("the sun")).await;
        assert!(
            waited
                .unwrap_err()
                .to_string()
                .contains("rain; last seen: the sun")
        );
    }
}
