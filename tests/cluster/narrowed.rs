//! Rights that are taken away while a rotation runs.

use anyhow::ensure;
use serde_json::json;
use tandem_lab::eventually;

use crate::scene::{LIMIT, Scene};

#[test]
fn fm43_rights_that_are_taken_away_in_the_middle_are_named_and_the_rotation_goes_on_when_they_are_back() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::new(&lab, "narrowed", json!({})).await?;
        let app = scene.app("app", 1).await?;
        let before = scene.credential().await?;
        let database = &scene.stage.pair.database;
        let held = scene
            .stage
            .postgres
            .connect_as(&before.user, &before.password, database)
            .await?;
        let nonce = scene.ask().await?;
        scene.reason("WaitingForSessions").await?;
        let shown = scene.status().await?;
        lab.kubectl(&["-n", scene.namespace(), "delete", "rolebindings", "--all"])?;

        // Not even the journal may be read, from the turn after the one that was under way: what was known of the
        // rotation stays there to be seen.
        eventually("the journal is named", LIMIT, async || {
            let message = scene.reason("AccessDenied").await?;
            for part in ["tandem rbac", "kubectl apply"] {
                ensure!(message.contains(part), "{part:?} is not in: {message}");
            }
            Ok(message.contains("app-db-tandem").then_some(()))
        })
        .await?;
        let status = scene.status().await?;
        let number = |status: &tandem::api::RotationPolicyStatus| status.rotation.as_ref().map(|r| r.number);
        ensure!(number(&status) == number(&shown), "{status:?}");
        ensure!(scene.logs_in(&before).await, "the old password must stay valid");

        drop(held);
        scene
            .controller
            .grant(scene.namespace(), &scene.policy_text())
            .await?;
        scene.completed(&nonce).await?;
        ensure!(scene.revision("app").await? == 2, "not restarted once");
        scene.sound(&before, &[&app]).await
    });
}
