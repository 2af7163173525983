//! The API server is away, from where the controller stands.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tandem_lab::{ControllerOptions, Link, Login};

use crate::scene::Scene;

/// Longer than a lease is valid.
const AWAY: Duration = Duration::from_secs(20);
/// Connections that may be tried in that time: a few of each client in a second are no spin.
const TRIES: u64 = 100;

impl Scene {
    /// Cuts the way, does what the rotation waits for, and puts the way back. What is written meanwhile is written by
    /// somebody who may have been followed by another already.
    async fn without(
        &self,
        link: &Link,
        before: &Login,
        mend: impl AsyncFnOnce() -> Result<()>,
    ) -> Result<()> {
        let tried = link.turned_away();
        let secret = self.secret().await?;
        link.set_open(false);
        mend().await?;
        tokio::time::sleep(AWAY).await;
        let tried = link.turned_away() - tried;
        ensure!(tried > 0, "nobody has tried to reach it");
        ensure!(tried < TRIES, "{tried} connections in {AWAY:?}");
        ensure!(self.secret().await? == secret, "the Secret was written meanwhile");
        ensure!(
            self.logs_in(before).await,
            "{} was retired meanwhile",
            before.user
        );
        link.set_open(true);
        Ok(())
    }
}

#[test]
fn fm43_while_the_api_server_is_away_nobody_is_retired_and_when_it_is_back_the_rotation_goes_on() {
    tandem_lab::run(|lab| async move {
        let link = lab.link().await?;
        let options = ControllerOptions::default().over(&link);
        let scene = Scene::unready(&lab, "away", json!({}), options).await?;
        scene.ready().await?;
        let app = scene.app("app", 2).await?;
        let before = scene.credential().await?;
        let (server, database) = (&scene.stage.postgres, &scene.stage.pair.database);
        let held = server
            .connect_as(&before.user, &before.password, database)
            .await?;

        // Before the flip: the server does not let the standby in.
        let open = "hostssl all all all scram-sha-256";
        let closed = format!("hostssl all {} all reject\n{open}", scene.stage.pair.b.user);
        server.set_hba(&closed).await?;
        let nonce = scene.ask().await?;
        scene.reason("HbaRejected").await?;
        scene
            .without(&link, &before, async || server.set_hba(open).await)
            .await?;

        // After the rollout: a session of the old user is left.
        scene.reason("WaitingForSessions").await?;
        let revision = scene.revision("app").await?;
        scene
            .without(&link, &before, async || {
                drop(held);
                Ok(())
            })
            .await?;
        scene.completed(&nonce).await?;
        ensure!(scene.revision("app").await? == revision, "it was restarted again");
        scene.sound(&before, &[&app]).await
    });
}
