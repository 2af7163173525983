//! What an application may notice of a failover, and what it may not.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use jiff::Timestamp;
use tandem_lab::{Consumer, Doing, Failure, eventually};

use crate::scene::LIMIT;

/// In so long an application tries to log in some ten times.
const A_MOMENT: Duration = Duration::from_millis(600);

/// So long an application waits for an answer, and a moment.
const PATIENCE: Duration = Duration::from_secs(6);

/// The time in which an application may find no server.
#[derive(Clone, Copy)]
pub(crate) struct Outage {
    from: Timestamp,
    over: Timestamp,
}

impl Outage {
    /// The outage that began at this time, as soon as the application logs in again and fails no more.
    pub(crate) async fn since(from: Timestamp, app: &Consumer) -> Result<Self> {
        let over = eventually("the application to log in again", LIMIT, async || {
            let (now, then) = (Timestamp::now(), app.tally()?);
            tokio::time::sleep(A_MOMENT).await;
            let tally = app.tally()?;
            if let (true, Some(last)) = (tally.failures.len() > then.failures.len(), tally.failures.last()) {
                bail!("{}", last.message);
            }
            Ok((tally.attempts > then.attempts + 3).then_some(now))
        })
        .await?;
        Ok(Self { from, over })
    }

    /// What a server has answered fails when it is said. Whoever asked an address where nobody is any more was told
    /// nothing, and has given up later.
    fn explains(self, failure: &Failure) -> bool {
        let late = if failure.sqlstate.is_some() {
            Duration::ZERO
        } else {
            PATIENCE
        };
        (self.from..=self.over + late).contains(&failure.at)
    }

    /// From the eviction to the first login that works again.
    pub(crate) fn lasted(self) -> f64 {
        self.over.duration_since(self.from).as_secs_f64()
    }
}

/// How often an application could not log in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failed {
    /// Because there was no server.
    pub(crate) without_server: usize,
    /// Because the server refused the password.
    pub(crate) password_refused: usize,
}

/// What failed since a time was due to one of these outages, and is over.
pub(crate) fn judged(app: &Consumer, since: Timestamp, outages: &[Outage]) -> Result<Failed> {
    let tally = app.tally()?;
    ensure!(tally.more_failures == 0, "more failed than was kept");
    let mut failed = Failed::default();
    for failure in tally.failures.iter().filter(|failure| failure.at >= since) {
        ensure!(
            outages.iter().any(|outage| outage.explains(failure)),
            "something failed while there was a server: {failure:?}"
        );
        match (failure.doing, failure.refuses_login()) {
            (Doing::Login, true) => failed.password_refused += 1,
            (Doing::Login, false) => failed.without_server += 1,
            // A connection that it had breaks with its server.
            (Doing::Query, _) => {}
        }
    }
    Ok(failed)
}
