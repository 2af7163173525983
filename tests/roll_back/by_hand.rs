//! `tandem.dev/abort`, in the phases that a test can hold a rotation in.

use anyhow::ensure;
use serde_json::json;
use tandem_lab::eventually;

use crate::scene::{LIMIT, POLICY, Scene};
use crate::way::{abort, as_before, delivered, rolled_back};

#[test]
fn an_abort_means_in_each_phase_what_the_documentation_says() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::new(&lab, "abort", json!({})).await?;
        let app = scene.app("app", 2).await?;
        let before = scene.credential().await?;
        let (revision, secret) = (scene.revision("app").await?, scene.secret().await?);

        // Before the flip: a server that does not let the standby in keeps it there. Nobody is restarted.
        let standby = &scene.stage.pair.b.user;
        let open = "hostssl all all all scram-sha-256";
        let closed = format!("hostssl all {standby} all reject\n{open}");
        scene.stage.postgres.set_hba(&closed).await?;
        scene.ask().await?;
        scene.reason("HbaRejected").await?;
        abort(&scene, "early").await?;
        // The server must say that what was taken back is refused; whom it does not let in, it does not tell.
        scene.stage.postgres.set_hba(open).await?;
        let ended = rolled_back(&scene, 2).await?;
        ensure!(
            ended.trigger == "Abort" && ended.reason.as_deref() == Some("tandem.dev/abort=early"),
            "ended otherwise: {ended:?}"
        );
        as_before(&scene, &before, None, &[&app]).await?;
        let now = scene.secret().await?;
        let kept = secret.iter().all(|(key, value)| now.get(key) == Some(value));
        ensure!(kept, "a key that was there before has another value");
        ensure!(scene.revision("app").await? == revision, "somebody was restarted");

        // After the rollout: a session of the old user keeps it there. Everybody is restarted once more.
        let (server, database) = (&scene.stage.postgres, &scene.stage.pair.database);
        let held = server
            .connect_as(&before.user, &before.password, database)
            .await?;
        scene.ask().await?;
        let failed = delivered(&scene, &before).await?;
        scene.reason("WaitingForSessions").await?;
        abort(&scene, "late").await?;
        rolled_back(&scene, 4).await?;
        drop(held);
        as_before(&scene, &before, Some(&failed), &[&app]).await?;
        ensure!(
            scene.revision("app").await? == revision + 2,
            "restarted {} times",
            scene.revision("app").await? - revision
        );

        // When nothing runs: it is answered, said so, and nothing is changed.
        abort(&scene, "idle").await?;
        eventually("the answer", LIMIT, async || {
            let seen = scene.status().await?.last_handled_abort;
            ensure!(seen.as_deref() == Some("idle"), "{seen:?} was answered last");
            Ok(Some(()))
        })
        .await?;
        let events = lab.kubectl(&[
            "-n",
            scene.namespace(),
            "events",
            "--for",
            &format!("rotpol/{POLICY}"),
        ])?;
        ensure!(events.contains("NothingAborted"), "not told: {events}");
        ensure!(
            scene.status().await?.last_rotation.map(|last| last.number) == Some(4),
            "a rotation was made"
        );
        as_before(&scene, &before, Some(&failed), &[&app]).await
    });
}
