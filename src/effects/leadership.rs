//! Leadership as data: until when this process leads for certain. Every write asks for it, and the database is told
//! the same time, so that a write which is delayed past it fails there.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// A view of who leads.
#[derive(Clone, Debug)]
pub struct Leadership {
    until: watch::Receiver<Option<Instant>>,
    stopping: Arc<watch::Sender<bool>>,
}

impl Leadership {
    /// Leadership that is held until the time that the other end says, if any.
    #[must_use]
    pub fn new(until: watch::Receiver<Option<Instant>>) -> Self {
        Self {
            until,
            stopping: Arc::new(watch::Sender::new(false)),
        }
    }

    /// How long this process still leads for certain; nothing when it does not, or is about to stop.
    #[must_use]
    pub fn time_left(&self) -> Option<Duration> {
        if *self.stopping.borrow() {
            return None;
        }
        self.until
            .borrow()
            .and_then(|until| until.checked_duration_since(Instant::now()))
            .filter(|left| !left.is_zero())
    }

    /// Whether this process leads, stopping or not.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.until.borrow().is_some_and(|until| until > Instant::now())
    }

    /// Ends all writing: a turn under way stops between two steps.
    pub fn stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Waits until this process leads.
    pub async fn won(&self) {
        let mut until = self.until.clone();
        // The election lives as long as the process; without it nobody here will ever lead.
        if until.wait_for(Option::is_some).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the process stops, or the lease has run out without being renewed.
    pub async fn ended(&self) {
        let mut stopping = self.stopping.subscribe();
        tokio::select! {
            _ = stopping.wait_for(|stopping| *stopping) => {}
            () = self.lost() => {}
        }
    }

    async fn lost(&self) {
        loop {
            let until = *self.until.borrow();
            match until {
                Some(until) if until > Instant::now() => tokio::time::sleep_until(until).await,
                Some(_) | None => return,
            }
        }
    }
}
