//! A replica that is late, and a session that only the replica knows.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tandem::api::status::EndpointStatus;
use tandem_lab::{ConsumerOptions, ControllerOptions, Login, Postgres, PostgresOptions, eventually};

use crate::scene::{LIMIT, Scene, direct, unharmed};

fn reading_at(host: &str) -> Value {
    json!({"spec": {"database": {"endpoints": [{"name": "reader", "role": "Replica", "host": host}]}}})
}

#[test]
fn fm22_fm41_nobody_is_told_before_a_late_replica_and_nobody_retired_before_its_last_session() {
    tandem_lab::run(|lab| async move {
        let namespace = lab.namespace("reader").await?;
        let stage = namespace.stage(PostgresOptions::named("db")).await?;
        let replica = stage.postgres.replica("db-ro").await?;
        let usual = direct(&stage);
        let scene = Scene::on(stage, usual, ControllerOptions::default()).await?;
        // What cannot work at night is told at noon.
        scene.apply(reading_at("db-nowhere")).await?;
        let (reason, message) = scene.condition("Preflight", "False").await?;
        ensure!(
            reason == "HostNotFound" && message.contains("spec.database.endpoints[reader].host"),
            "{reason}: {message}"
        );
        scene.apply(reading_at(&replica.host())).await?;
        scene.ready().await?;
        let app = scene.app("app", 1).await?;
        let report = ConsumerOptions::of(&replica).named("report").replicas(1);
        let report = scene.stage.namespace.consumer(report).await?;
        let before = scene.credential().await?;
        let old = replica
            .connect_as(&before.user, &before.password, "appdb")
            .await?;

        replica.pause_replay().await?;
        let nonce = scene.ask().await?;
        let message = scene.reason("WaitingForReplica").await?;
        for part in ["endpoint reader at db-ro", "bytes behind", "its replay is paused"] {
            ensure!(message.contains(part), "{part:?} is not in: {message}");
        }
        ensure!(
            scene.credential().await? == before,
            "told before the replica knows it"
        );
        ensure!(reader(&scene).await?.verified_at.is_none(), "not verified yet");
        replica.resume_replay().await?;

        let message = scene.reason("WaitingForSessions").await?;
        ensure!(
            message.contains("1 of tandem-lab") && message.contains("at endpoint reader"),
            "{message}"
        );
        let seen = reader(&scene).await?;
        ensure!(
            seen.verified_at.is_some() && seen.old_sessions == Some(1),
            "{seen:?}"
        );
        ensure!(scene.logs_in(&before).await, "the old password must stay valid");
        drop(old);
        let status = scene.completed(&nonce).await?;
        ensure!(status.endpoints.is_empty(), "{:?}", status.endpoints);
        scene.sound(&before, &[&app, &report]).await?;
        refused_at(&replica, &before).await?;
        // And nobody was restarted a second time.
        for deployment in ["app", "report"] {
            ensure!(scene.revision(deployment).await? == 2, "{deployment}");
        }
        unharmed(&report.tally()?)
    });
}

async fn reader(scene: &Scene) -> Result<EndpointStatus> {
    let mut seen = scene.status().await?.endpoints;
    let one = seen.pop().context("no endpoint in the status")?;
    ensure!(one.name == "reader" && seen.is_empty(), "{one:?} {seen:?}");
    Ok(one)
}

async fn refused_at(replica: &Postgres, login: &Login) -> Result<()> {
    eventually("the replica to refuse the old password", LIMIT, async || {
        let session = replica.connect_as(&login.user, &login.password, "appdb").await;
        Ok(session.is_err().then_some(()))
    })
    .await
}
