//! What a full namespace and a full cluster cost: `cargo bench --bench crowd`. Figures are printed, never asserted.

#![allow(
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark prints, and fails by panicking"
)]

mod resident;
#[allow(
    dead_code,
    reason = "the scene of the cluster tests, of which a benchmark needs less"
)]
#[path = "../cluster/scene.rs"]
mod scene;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, from_value, json};

use resident::resident;
use scene::Scene;

/// Workloads in the namespace, of which one uses the credential.
const WORKLOADS: [usize; 3] = [10, 100, 1_000];
const PODS: usize = 5_000;
const IDLE: Duration = Duration::from_secs(30);

fn main() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::new(&lab, "crowd", json!({})).await?;
        let app = scene.app("app", 1).await?;
        namespace(&scene).await?;
        cluster(&scene).await?;
        app.delete().await
    });
}

/// Reads of a rotation, while the namespace grows.
async fn namespace(scene: &Scene) -> Result<()> {
    let deployments: Api<Deployment> = scene.stage.namespace.api();
    let mut there = 1;
    for workloads in WORKLOADS {
        create(&deployments, (there..workloads).map(deployment)).await?;
        there = workloads;
        let audit = own(scene)?;
        scene.rotate().await?;
        let mut lists: BTreeMap<String, usize> = BTreeMap::new();
        let mut gets = 0;
        for request in audit.read()? {
            match request.verb.as_str() {
                "list" | "watch" => *lists.entry(request.resource).or_default() += 1,
                "get" => gets += 1,
                _ => {}
            }
        }
        println!("{workloads} workloads: {gets} objects read one by one; lists and watches: {lists:?}");
    }
    Ok(())
}

/// Memory and requests while nothing is to be done, in a small and in a large cluster.
async fn cluster(scene: &Scene) -> Result<()> {
    idle(scene, "before").await?;
    let elsewhere = scene.lab.namespace("full").await?;
    create(&elsewhere.api::<Pod>(), (0..PODS).map(pod)).await?;
    idle(scene, &format!("with {PODS} pods more")).await
}

async fn idle(scene: &Scene, when: &str) -> Result<()> {
    let audit = own(scene)?;
    tokio::time::sleep(IDLE).await;
    let requests = audit.read()?;
    let others = requests.iter().filter(|r| r.resource != "leases").count();
    println!(
        "{when}: resident {} KiB; idle for {} s: {others} requests that are not for the lease",
        resident()?,
        IDLE.as_secs()
    );
    Ok(())
}

fn own(scene: &Scene) -> Result<tandem_lab::Audit> {
    Ok(scene
        .lab
        .audit()
        .from_here()?
        .service_account(scene.controller.namespace(), scene.controller.service_account()))
}

async fn create<K>(api: &Api<K>, objects: impl Iterator<Item = Value>) -> Result<()>
where
    K: Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    futures::stream::iter(objects)
        .map(|object| async move {
            api.create(&PostParams::default(), &from_value(object)?).await?;
            anyhow::Ok(())
        })
        .buffer_unordered(16)
        .try_collect()
        .await
}

/// One that has no pods and does not use the credential.
fn deployment(i: usize) -> Value {
    let labels = json!({"app": format!("other-{i}")});
    json!({
        "metadata": {"name": format!("other-{i}")},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "main", "image": "lab.local/empty:1"}]},
            },
        },
    })
}

/// One that no scheduler takes, and so no node runs.
fn pod(i: usize) -> Value {
    json!({
        "metadata": {"name": format!("pod-{i}")},
        "spec": {
            "schedulerName": "nobody",
            "containers": [{"name": "main", "image": "lab.local/empty:1"}],
        },
    })
}
