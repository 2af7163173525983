//! What a rotation and an idle hour cost the database, and how soon a change that a replica has replayed is known:
//! `cargo bench --bench doors`. Figures are printed, never asserted; all are of one run.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark prints, and fails by panicking"
)]

#[allow(
    dead_code,
    reason = "the scene of the cluster tests, of which a benchmark needs less"
)]
#[path = "../cluster/scene.rs"]
mod scene;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use tandem_lab::{Lab, Postgres};

use scene::{LIMIT, Scene};

const ROUNDS: u32 = 3;
/// As often as a policy can have it, so that there is something to count.
const CHECK_EVERY: Duration = Duration::from_secs(10);
const CHECKS: u32 = 6;
/// How exact the times are.
const TICK: Duration = Duration::from_millis(10);
/// How much later than the primary the replica replays.
const DELAYS: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(5)];

fn main() {
    tandem_lab::run(|lab| async move {
        connections(&lab).await?;
        replay(&lab).await
    });
}

async fn connections(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, "connections", json!({"spec": {"checkEvery": "10s"}})).await?;
    for round in 1..=ROUNDS {
        let before = connected(&scene, &scene.stage.postgres).await?;
        let started = Instant::now();
        scene.rotate().await?;
        let (took, opened) = (
            started.elapsed(),
            connected(&scene, &scene.stage.postgres).await? - before,
        );
        println!("rotation {round}: {opened} connections to the server in {took:.1?}");
    }
    let before = connected(&scene, &scene.stage.postgres).await?;
    tokio::time::sleep(CHECK_EVERY * CHECKS).await;
    let opened = connected(&scene, &scene.stage.postgres).await? - before;
    println!(
        "idle for {CHECKS} intervals of the periodic check: {opened} connections, so about {:.0} in an hour of the default",
        f64::from(u32::try_from(opened)?) / f64::from(CHECKS)
    );
    Ok(())
}

/// How many connections the server has been asked for by the controller, those among them that it refused.
async fn connected(scene: &Scene, server: &Postgres) -> Result<usize> {
    let pods = scene.controller.pods().await?;
    let addresses: BTreeSet<_> = pods
        .into_iter()
        .filter_map(|pod| pod.status?.pod_ip)
        .map(|address| format!("connection received: host={address} "))
        .collect();
    let log = server.server_log()?;
    Ok(log
        .lines()
        .filter(|line| addresses.iter().any(|address| line.contains(address)))
        .count())
}

async fn replay(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, "replay", json!({})).await?;
    let primary = &scene.stage.postgres;
    let far = primary.replica("far").await?;
    let endpoints = json!([{"name": "far", "role": "Replica", "host": far.host()}]);
    scene
        .apply(json!({"spec": {"database": {"endpoints": endpoints}}}))
        .await?;
    scene.ready().await?;
    println!(
        "\nfrom the change on the primary until the replica has replayed it, and until the application Secret has it"
    );
    for delay in DELAYS {
        far.delay(delay).await?;
        let before = scene.credential().await?;
        let standby = if before.user == "app_a" { "app_b" } else { "app_a" };
        let kept = verifier(primary, standby).await?;
        let nonce = scene.ask().await?;
        let altered = when(async || Ok(verifier(primary, standby).await? != kept)).await?;
        let new = verifier(primary, standby).await?;
        let (replayed, told) = tokio::try_join!(
            when(async || Ok(verifier(&far, standby).await? == new)),
            when(async || Ok(scene.credential().await?.user == standby)),
        )?;
        let (replayed, told) = (replayed - altered, told - altered);
        println!(
            "delay {delay:.0?}: replayed after {replayed:.2?}, delivered after {told:.2?}, {:.2} : 1",
            told.as_secs_f64() / replayed.as_secs_f64()
        );
        scene.completed(&nonce).await?;
    }
    Ok(())
}

async fn verifier(server: &Postgres, user: &str) -> Result<Option<String>> {
    let query = format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{user}'");
    server.value("postgres", &query).await
}

/// When it was first so, to a tick.
async fn when(so: impl AsyncFn() -> Result<bool>) -> Result<Instant> {
    tokio::time::timeout(LIMIT, async {
        while !so().await? {
            tokio::time::sleep(TICK).await;
        }
        Ok(Instant::now())
    })
    .await?
}
