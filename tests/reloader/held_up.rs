//! Restarts by Reloader that are held up, taken back, or hidden behind another.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::api::{Api, ListParams};
use serde_json::json;
use tandem_lab::{Consumer, ReloaderOptions, eventually};

use crate::beside::{Beside, LAST_RELOADED_FROM, Mark, NAMED};
use crate::scene::LIMIT;

/// Some passes of the controller, and a second of the API server.
const A_MOMENT: Duration = Duration::from_millis(1500);

impl Beside {
    /// Waits until the running rotation says all of this.
    async fn says(&self, parts: &[&str]) -> Result<()> {
        eventually(format!("the rotation to say {parts:?}"), LIMIT, async || {
            let rotation = self.status().await?.rotation.context("the rotation must wait")?;
            let absent: Vec<_> = parts
                .iter()
                .filter(|part| !rotation.message.contains(**part))
                .collect();
            ensure!(absent.is_empty(), "{absent:?} not in {}", rotation.message);
            Ok(Some(()))
        })
        .await
    }

    /// Waits until Reloader's mark on a Deployment is for this Secret.
    async fn names(&self, deployment: &str, secret: &str) -> Result<()> {
        eventually(format!("a mark for {secret}"), LIMIT, async || {
            let found: Deployment = self.stage.namespace.api().get(deployment).await?;
            let annotations = found.spec.template.metadata.and_then(|m| m.annotations);
            let mark = annotations.unwrap_or_default().remove(LAST_RELOADED_FROM);
            Ok(mark.is_some_and(|mark| mark.contains(secret)).then_some(()))
        })
        .await
    }

    /// Waits until a Deployment has been given so many templates more.
    async fn rolled_out(&self, app: &Consumer, before: u32, times: u32) -> Result<()> {
        let what = format!("{times} rollouts of {}", app.name());
        eventually(what, LIMIT, async || {
            let more = self.revision(app.name()).await? - before;
            ensure!(more <= times, "{} was rolled out {more} times", app.name());
            Ok((more == times).then_some(()))
        })
        .await
    }
}

#[test]
fn fm34_fm35_what_reloader_has_restarted_is_waited_for_paused_or_taken_back() {
    tandem_lab::run(|lab| async move {
        let beside = Beside::new(&lab, "held-up", json!({}), ReloaderOptions::default()).await?;
        let named = (NAMED, "db-credentials");
        let paused = beside.annotated("paused", &[named]).await?;
        let undone = beside.annotated("undone", &[named]).await?;
        let period = ("deployment.reloader.stakater.com/pause-period", "5s");
        let gathers = beside.annotated("gathers", &[named, period]).await?;
        paused.change(&json!({"spec": {"paused": true}})).await?;
        // A slow rollout, so that there is something to take back.
        undone.change(&json!({"spec": {"minReadySeconds": 60}})).await?;
        let marks = [(&paused, Mark::Variable), (&gathers, Mark::Variable)];
        let before = beside.start(&marks).await?;
        let login = beside.credential().await?;
        let revision = beside.revision("undone").await?;
        let nonce = beside.ask().await?;

        beside.rolled_out(&undone, revision, 1).await?;
        lab.kubectl(&["-n", beside.namespace(), "rollout", "undo", "deployment/undone"])?;
        let (resume, restart) = (
            format!(
                "paused; go on with: kubectl -n {} rollout resume deployment/paused",
                beside.namespace()
            ),
            format!(
                "kubectl -n {} rollout restart deployment/undone",
                beside.namespace()
            ),
        );
        beside
            .says(&[
                &resume,
                &restart,
                "somebody took its restart back from deployment/undone",
            ])
            .await?;
        ensure!(beside.logs_in(&login).await, "the old password must stay valid");
        let sets: Api<ReplicaSet> = beside.stage.namespace.api();
        let templates = sets.list(&ListParams::default().labels("app=undone")).await?;
        ensure!(templates.items.len() == 2, "it was restarted against that will");

        lab.kubectl(&["-n", beside.namespace(), "rollout", "resume", "deployment/paused"])?;
        undone.change(&json!({"spec": {"minReadySeconds": 0}})).await?;
        lab.kubectl(&[
            "-n",
            beside.namespace(),
            "rollout",
            "restart",
            "deployment/undone",
        ])?;
        beside.completed(&nonce).await?;
        beside.ended(&before, &marks).await?;
        beside.sound(&login, &[&undone]).await?;
        beside.stays(&before, &marks).await
    });
}

#[test]
fn case27_one_mark_hides_another_and_what_is_hidden_from_reloader_keeps_its_credential() {
    tandem_lab::run(|lab| async move {
        let beside = Beside::new(&lab, "hidden", json!({}), ReloaderOptions::annotations()).await?;
        beside
            .patch(json!({"spec": {"restart": {"mode": "Reloader"}}}))
            .await?;
        let namespace = &beside.stage.namespace;
        namespace.secret("feature-flags", &[("dark", "off")]).await?;
        let named = (NAMED, "db-credentials,feature-flags");
        let period = ("deployment.reloader.stakater.com/pause-period", "6s");
        let web = beside.annotated("web", &[named, period]).await?;
        let before = beside.credential().await?;
        let revision = beside.revision("web").await?;
        let nonce = beside.ask().await?;
        beside
            .says(&["paused by Reloader since", "pause-period (6s)"])
            .await?;
        // While its pause holds everybody up, it writes its mark for another Secret over this one. The API server tells
        // times by the second.
        tokio::time::sleep(A_MOMENT).await;
        namespace.secret("feature-flags", &[("dark", "on")]).await?;
        beside.names("web", "feature-flags").await?;
        tokio::time::sleep(A_MOMENT).await;
        beside.reason("WaitingForRollout").await?;
        beside.completed(&nonce).await?;
        beside.sound(&before, &[&web]).await?;
        beside.rolled_out(&web, revision, 1).await?;

        // Hidden from Reloader, and nobody else may restart: it keeps the credential, and nobody retires that.
        web.change(&json!({"metadata": {"annotations": {period.0: null}}}))
            .await?;
        beside
            .annotate_secret(json!({"reloader.stakater.com/ignore": "true"}))
            .await?;
        let before = beside.credential().await?;
        let nonce = beside.ask().await?;
        let restart = format!("kubectl -n {} rollout restart deployment/web", beside.namespace());
        beside
            .says(&["Reloader has not restarted deployment/web yet", &restart])
            .await?;
        ensure!(beside.logs_in(&before).await, "the old password must stay valid");
        beside.rolled_out(&web, revision, 1).await?;
        // A pod of the same second as the delivery may have loaded what was before it, and is rightly taken for old.
        tokio::time::sleep(A_MOMENT).await;
        lab.kubectl(&["-n", beside.namespace(), "rollout", "restart", "deployment/web"])?;
        beside.completed(&nonce).await?;
        beside.sound(&before, &[&web]).await?;
        beside.rolled_out(&web, revision, 2).await
    });
}
