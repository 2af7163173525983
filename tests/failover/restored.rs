//! A restore to a point before the change: by everything that the server says of itself it is the same one.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use serde_json::json;
use tandem_lab::Consumer;

use crate::outage::{Failed, Outage, judged};
use crate::row::stands_still;
use crate::scene::{Scene, mortal};

/// Tandem notices as soon as it can log in again.
const SOON: Duration = Duration::from_mins(1);

#[test]
fn fm21_a_restore_to_a_point_before_the_change_is_made_good_from_the_journal() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::unready(&lab, "restored", json!({}), mortal()).await?;
        scene.ready().await?;
        let app = scene.app("app", 1).await?;
        // After set_verifier, and before anybody was told.
        let (failed, outage) = restored(&scene, &app, 2).await?;
        eprintln!("restored before the flip: {failed:?} in {:.1} s", outage.lasted());
        ensure!(failed.password_refused == 0, "passwords were refused: {failed:?}");
        // After retire: the applications hold a password that the server does not know any more, until it is set again;
        // and the one that was retired works once more, until it is retired again.
        let (failed, outage) = restored(&scene, &app, 6).await?;
        eprintln!(
            "restored after the retirement: {failed:?} in {:.1} s",
            outage.lasted()
        );
        ensure!(
            outage.lasted() < SOON.as_secs_f64(),
            "it took {} s",
            outage.lasted()
        );
        Ok(())
    });
}

/// One rotation, in which the server is restored to the point before it after the n-th write, and the controller killed.
async fn restored(scene: &Scene, app: &Consumer, write: usize) -> Result<(Failed, Outage)> {
    let (server, before, revision) = (
        &scene.stage.postgres,
        scene.credential().await?,
        scene.revision("app").await?,
    );
    let number = scene.status().await?.last_rotation.map_or(0, |last| last.number);
    let began = Timestamp::now();
    server.snapshot().await?;
    let kept = Outage::since(began, app).await?;
    let system =
        "SELECT system_identifier || '/' || timeline_id FROM pg_control_system(), pg_control_checkpoint()";
    let identity = server.value("postgres", system).await?;

    scene.fault("after", write)?;
    let nonce = scene.ask().await?;
    stands_still(scene).await?;
    let from = Timestamp::now();
    let (restored, killed) = tokio::join!(server.restore(), scene.kill());
    restored?;
    killed?;
    let outage = Outage::since(from, app).await?;
    let status = scene.completed(&nonce).await?;
    scene.sound(&before, &[]).await?;
    ensure!(
        server.value("postgres", system).await? == identity,
        "the server tells that it was restored"
    );
    let ended = status.last_rotation.context("no rotation has ended")?.number;
    let restarts = scene.revision("app").await? - revision;
    ensure!(
        ended == number + 1 && restarts == 1,
        "rotation {ended} follows {number}, and the application was restarted {restarts} times"
    );
    Ok((judged(app, began, &[kept, outage])?, outage))
}
