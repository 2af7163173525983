//! The real process, killed at each write of a roll-back.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;
use tandem_lab::ConsumerOptions;

use crate::happy::ROLL_BACK_WRITES;
use crate::scene::{Scene, mortal};
use crate::way::{abort, as_before, delivered, rolled_back};

/// Between two writes nothing is changed, so after one is before the next: killed before the first and after each, it
/// was killed before and after each.
fn kills() -> impl Iterator<Item = (&'static str, usize, &'static str)> {
    let after = ROLL_BACK_WRITES.into_iter().enumerate();
    let after = after.map(|(i, write)| ("after", i + 1, write));
    [("before", 1, ROLL_BACK_WRITES[0])].into_iter().chain(after)
}

#[test]
fn killed_before_and_after_each_write_of_a_roll_back_it_recovers_and_nobody_notices() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::unready(&lab, "killed", json!({}), mortal()).await?;
        scene.ready().await?;
        // An old pod that takes its time keeps the rollout from ending before the abort comes.
        let app = ConsumerOptions {
            linger: Duration::from_secs(3),
            ..ConsumerOptions::of(&scene.stage.postgres).replicas(1)
        };
        let app = scene.stage.namespace.consumer(app).await?;
        let before = scene.credential().await?;
        let mut number = 0;
        for (when, write, label) in kills() {
            let case = format!("{when} {label} ({write})");
            let revision = scene.revision("app").await?;
            scene.ask().await?;
            let failed = delivered(&scene, &before).await?;
            scene.phase("Restarted").await?;
            scene.fault(when, write)?;
            abort(&scene, &format!("stop-{number}")).await?;
            number += 2;
            let (ended, killed) = tokio::join!(rolled_back(&scene, number), scene.kill());
            killed.with_context(|| case.clone())?;
            ended.with_context(|| case.clone())?;
            as_before(&scene, &before, Some(&failed), &[&app])
                .await
                .with_context(|| case.clone())?;
            let restarts = scene.revision("app").await? - revision;
            ensure!(
                restarts == 2,
                "{case}: the application was restarted {restarts} times"
            );
        }
        eprintln!(
            "{} kills survived, {} logins, 0 failed",
            number / 2,
            app.tally()?.attempts
        );
        Ok(())
    });
}
