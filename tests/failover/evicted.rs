//! The seeds' scenario: somebody rolls out a new version of the application, a rotation runs, and the primary is evicted.

use anyhow::{Result, ensure};
use jiff::Timestamp;

use crate::outage::{Failed, Outage, judged};
use crate::row::{app, two_servers_scene};

#[test]
fn the_primary_is_evicted_during_a_deployment_while_a_rotation_runs() {
    tandem_lab::run(|lab| async move {
        let (mut scene, mut servers) = two_servers_scene(&lab, "evicted").await?;
        let app = app(&scene, &servers, 3).await?;
        let (before, revision, began) = (
            scene.credential().await?,
            scene.revision("app").await?,
            Timestamp::now(),
        );
        app.restart().await?;
        let nonce = scene.ask().await?;
        scene.phase("Delivered").await?;
        let from = Timestamp::now();
        servers.fail_over().await?;
        scene.stage.postgres = servers.primary().clone();
        let (outage, replenished) = tokio::join!(Outage::since(from, &app), servers.replenish());
        replenished?;
        let outage = outage?;
        let status = scene.completed(&nonce).await?;
        scene.sound(&before, &[]).await?;
        let failed = judged(&app, began, &[outage])?;
        eprintln!(
            "evicted: no server for {:.1} s, {} logins of {} found none",
            outage.lasted(),
            failed.without_server,
            app.tally()?.attempts
        );
        ensure!(failed.password_refused == 0, "passwords were refused: {failed:?}");
        // And nothing more: the person's rollout and the rotation's, and one rotation.
        ensure!(
            scene.revision("app").await? == revision + 2,
            "restarted otherwise"
        );
        ensure!(
            status.last_rotation.map(|last| last.number) == Some(1),
            "another rotation was made"
        );
        app.wait_until_ready().await?;
        quiet(failed, judged(&app, began, &[outage])?)
    });
}

fn quiet(then: Failed, now: Failed) -> Result<()> {
    ensure!(then == now, "more logins failed since: {now:?}");
    Ok(())
}
