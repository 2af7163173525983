//! Connections that a rollout adds.

use anyhow::{Result, ensure};
use serde_json::json;
use tandem_lab::{ControllerOptions, PostgresOptions};

use crate::scene::{Scene, direct};

#[test]
fn a_restart_waits_until_the_server_has_room_for_its_connections() {
    tandem_lab::run(|lab| async move {
        let namespace = lab.namespace("crowded").await?;
        let options = PostgresOptions::named("db").setting("max_connections", "30");
        let stage = namespace.stage(options).await?;
        let usual = direct(&stage);
        let scene = Scene::on(stage, usual, ControllerOptions::default()).await?;
        scene.apply(json!({})).await?;
        scene.ready().await?;
        let app = scene.app("app", 1).await?;
        let before = scene.credential().await?;
        // One pod that has as many connections will have as many again beside them while it is replaced.
        let pool = hold(&scene, 16).await?;
        let nonce = scene.ask().await?;
        let message = scene.reason("WaitingForRoom").await?;
        for part in ["deployment/app", "1 pods more", "max_connections", "allows 27"] {
            ensure!(message.contains(part), "{part:?} is not in: {message}");
        }
        ensure!(scene.revision("app").await? == 1, "restarted without room");
        let flipped = scene.credential().await?;
        ensure!(
            scene.logs_in(&before).await && scene.logs_in(&flipped).await,
            "both credentials must be valid"
        );
        drop(pool);
        scene.completed(&nonce).await?;
        ensure!(scene.revision("app").await? == 2, "not restarted once");
        scene.sound(&before, &[&app]).await
    });
}

/// Connections of the active user.
async fn hold(scene: &Scene, connections: usize) -> Result<Vec<impl Sized>> {
    let login = scene.credential().await?;
    let mut held = Vec::new();
    for _ in 0..connections {
        let (postgres, database) = (&scene.stage.postgres, &scene.stage.pair.database);
        held.push(
            postgres
                .connect_as(&login.user, &login.password, database)
                .await?,
        );
    }
    Ok(held)
}
