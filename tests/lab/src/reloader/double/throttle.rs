//! The client's own limit: ten requests at once, and five a second after that.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

const EVERY: Duration = Duration::from_millis(200);
const BURST: u32 = 10;

/// The limit for one API group in one event; the next event begins with a new one.
#[derive(Default)]
pub(super) struct Throttle {
    /// When all that was asked for would be paid for.
    paid: Option<Instant>,
}

impl Throttle {
    /// Waits until one more request is allowed.
    pub(super) async fn pass(&mut self) {
        let now = Instant::now();
        let paid = self.paid.map_or(now, |paid| paid.max(now)) + EVERY;
        self.paid = Some(paid);
        if let Some(due) = paid.checked_sub(EVERY * BURST) {
            sleep_until(due).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ten_pass_at_once_and_then_five_a_second() {
        let (start, mut throttle) = (Instant::now(), Throttle::default());
        for _ in 0..10 {
            throttle.pass().await;
        }
        let burst = start.elapsed();
        throttle.pass().await;
        throttle.pass().await;
        assert!(burst < EVERY, "{burst:?}");
        assert!(start.elapsed() >= EVERY * 2);
    }
}
