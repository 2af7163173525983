//! How a test gives a rotation up, and what must be there in the end.

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use tandem::api::status::FinishedRotation;
use tandem_lab::{Consumer, Login, eventually};

use crate::scene::{LIMIT, Scene, unharmed};

/// Gives the running rotation up.
pub(crate) async fn abort(scene: &Scene, value: &str) -> Result<()> {
    let annotations = json!({"tandem.dev/abort": value});
    scene
        .patch(json!({"metadata": {"annotations": annotations}}))
        .await
}

/// The credential that a rotation has delivered.
pub(crate) async fn delivered(scene: &Scene, before: &Login) -> Result<Login> {
    eventually("the new credential", LIMIT, async || {
        let now = scene.credential().await?;
        ensure!(now.user != before.user, "still {}", now.user);
        Ok(Some(now))
    })
    .await
}

/// Waits until the roll-back with this number has ended, and returns how.
pub(crate) async fn rolled_back(scene: &Scene, number: u64) -> Result<FinishedRotation> {
    let ended = eventually(format!("the end of roll-back {number}"), LIMIT, async || {
        let seen = scene.status().await?;
        if let Some(rotation) = &seen.rotation {
            bail!(
                "{} is at {}: {}",
                rotation.number,
                rotation.phase,
                rotation.message
            );
        }
        let last = seen.last_rotation.context("no rotation has ended")?;
        ensure!(last.number >= number, "{} was the last", last.number);
        let undone = seen.history.iter().find(|ended| ended.number + 1 == number);
        let undone = undone.context("the rotation that was taken back is not in the history")?;
        ensure!(
            undone.result == "RolledBack" && undone.reason == last.reason,
            "history: {undone:?}"
        );
        Ok(Some(last))
    })
    .await?;
    ensure!(
        ended.number == number && ended.result == "RolledBack",
        "another end than expected: {ended:?}"
    );
    scene.ready().await?;
    Ok(ended)
}

/// The credential from before is the one that everybody uses; the one that was taken back is refused; the applications
/// never failed.
pub(crate) async fn as_before(
    scene: &Scene,
    before: &Login,
    failed: Option<&Login>,
    apps: &[&Consumer],
) -> Result<()> {
    let now = scene.credential().await?;
    ensure!(now == *before, "the Secret names {} now", now.user);
    ensure!(scene.logs_in(before).await, "{} cannot log in", before.user);
    if let Some(failed) = failed {
        ensure!(
            !scene.logs_in(failed).await,
            "{} still logs in with what was taken back",
            failed.user
        );
    }
    for app in apps {
        unharmed(&app.tally()?)?;
    }
    Ok(())
}
