//! Waiting for what comes within milliseconds.

use std::fmt::Display;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const PAUSE: Duration = Duration::from_millis(15);

/// As the lab's own `eventually`, but asks much more often: a contract of many lines is over sooner.
pub(crate) async fn promptly<T>(
    what: impl Display,
    timeout: Duration,
    mut probe: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let deadline = Instant::now() + timeout;
    loop {
        let outcome = probe().await;
        if let Ok(Some(answer)) = outcome {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            match outcome {
                Err(error) => bail!("waited {timeout:?} for {what}; last seen: {error:#}"),
                Ok(_) => bail!("waited {timeout:?} for {what}"),
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
