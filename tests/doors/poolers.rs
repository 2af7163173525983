//! A pooler through which an application logs in, with a client that no server sees.

use anyhow::{Context as _, ensure};
use serde_json::json;
use tandem_lab::{
    CONSOLE_SECRET, ConsumerOptions, ControllerOptions, KnownBy, PgBouncerOptions, PostgresOptions,
    eventually,
};

use crate::scene::{LIMIT, Scene, direct};

#[test]
fn fm24_through_a_pooler_nobody_is_refused_and_an_idle_client_of_it_is_waited_for() {
    tandem_lab::run(|lab| async move {
        let namespace = lab.namespace("pooled").await?;
        let stage = namespace.stage(PostgresOptions::named("db")).await?;
        let options = PgBouncerOptions::known_by(KnownBy::AuthQuery).setting("server_idle_timeout", "1");
        let pooler = stage.pgbouncer(options).await?;
        let usual = direct(&stage);
        let scene = Scene::on(stage, usual, ControllerOptions::default()).await?;
        let endpoint = json!({
            "name": "pgbouncer", "role": "Pooler", "host": pooler.host(), "port": pooler.port(),
            "console": {"secretRef": {"name": CONSOLE_SECRET}},
        });
        scene
            .apply(json!({"spec": {"database": {"endpoints": [endpoint]}}}))
            .await?;
        scene.ready().await?;
        let through = ConsumerOptions {
            host: pooler.host(),
            port: pooler.port(),
            ..ConsumerOptions::of(&scene.stage.postgres).named("web")
        };
        let web = scene.stage.namespace.consumer(through).await?;
        let before = scene.credential().await?;
        let idle = pooler.connect_as(&before.user, &before.password, "appdb").await?;
        let nonce = scene.ask().await?;
        // Connections of the pooler itself may be left for a moment, and then the client alone.
        eventually("the client to be named", LIMIT, async || {
            let message = scene.reason("WaitingForSessions").await?;
            ensure!(message.contains(": 1 of tandem-lab from"), "{message}");
            ensure!(message.contains("at endpoint pgbouncer."), "{message}");
            Ok(Some(()))
        })
        .await?;
        ensure!(scene.logs_in(&before).await, "the old password must stay valid");
        drop(idle);
        let status = scene.completed(&nonce).await?;
        ensure!(status.laggards.is_empty(), "{:?}", status.laggards);
        scene.sound(&before, &[&web]).await?;
        ensure!(scene.revision("web").await? == 2, "not restarted once");
        let refused = pooler.connect_as(&before.user, &before.password, "appdb").await;
        ensure!(refused.is_err(), "the pooler takes the old password");
        Ok(())
    });
}

#[test]
fn fm24_where_nobody_tells_of_a_poolers_clients_time_has_to_pass() {
    tandem_lab::run(|lab| async move {
        let namespace = lab.namespace("soaked").await?;
        let stage = namespace.stage(PostgresOptions::named("db")).await?;
        let options = PgBouncerOptions::known_by(KnownBy::AuthQuery).setting("server_idle_timeout", "1");
        let pooler = stage.pgbouncer(options).await?;
        let usual = direct(&stage);
        let scene = Scene::on(stage, usual, ControllerOptions::default()).await?;
        let endpoint = json!({
            "name": "pgbouncer", "role": "Pooler", "host": pooler.host(), "port": pooler.port(), "soak": "8s",
        });
        scene
            .apply(json!({"spec": {"database": {"endpoints": [endpoint]}}}))
            .await?;
        scene.ready().await?;
        let before = scene.credential().await?;
        let idle = pooler.connect_as(&before.user, &before.password, "appdb").await?;
        let nonce = scene.ask().await?;
        // No server sees it, and nobody says that it is there.
        scene.reason("WaitingForQuiet").await?;
        ensure!(scene.logs_in(&before).await, "the old password must stay valid");
        let status = scene.completed(&nonce).await?;
        let last = status.last_rotation.context("no rotation has ended")?;
        let whole = last.finished_at.0.duration_since(last.started_at.0).as_secs();
        let rollout = last.rollout_seconds.context("no rollout has ended")?;
        // Times are shown to the second.
        ensure!(whole - rollout >= 7, "quiet for {} s", whole - rollout);
        drop(idle);
        scene.sound(&before, &[]).await
    });
}
