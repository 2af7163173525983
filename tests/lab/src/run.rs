//! Running a test inside the lab.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::FutureExt as _;

use crate::join::{enter, join};
use crate::lab::Lab;
use crate::progress::say;

/// Joins the lab, starting it when needed, and runs the test inside its network on a runtime of its own.
///
/// Names like `db.my-namespace.svc` resolve in there. Namespaces that the test made are deleted at its end.
///
/// # Panics
/// When the test panics or returns an error.
#[track_caller]
#[expect(clippy::panic, reason = "this is how a test fails")]
pub fn run<F, Fut>(test: F)
where
    F: FnOnce(Lab) -> Fut + Send + 'static,
    Fut: Future<Output = Result<()>>,
{
    if let Err(error) = within(test) {
        panic!("{error:#}");
    }
}

/// As [`run`](crate::run), for programs: returns what the work returns, and its error.
///
/// # Errors
/// When the lab cannot be joined, and when the work fails.
///
/// # Panics
/// When the work panics.
pub fn within<T, F, Fut>(work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce(Lab) -> Fut + Send + 'static,
    Fut: Future<Output = Result<T>>,
{
    // A thread can enter a network by itself; the rest of the process stays where it is.
    let thread = std::thread::Builder::new()
        .spawn(move || inside(work))
        .context("cannot start a thread")?;
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

fn inside<T, F, Fut>(work: F) -> Result<T>
where
    F: FnOnce(Lab) -> Fut,
    Fut: Future<Output = Result<T>>,
{
    let membership = join().context("cannot join the lab")?;
    enter(&membership)?;
    // Another part of the program may have chosen the same provider already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async {
        let lab = Lab::connect(membership).await?;
        let outcome = AssertUnwindSafe(work(lab.clone())).catch_unwind().await;
        if !matches!(outcome, Ok(Ok(_))) {
            say(&format!("that failed; its surroundings:\n{}", lab.describe()));
        }
        if let Err(error) = lab.clean_up().await {
            say(&format!("{error:#}"));
        }
        outcome.unwrap_or_else(|panic| resume_unwind(panic))
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}
