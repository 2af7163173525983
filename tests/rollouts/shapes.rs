//! Rollouts of several shapes side by side, none of which needs a person.

use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::Api;
use serde_json::{Value, json};
use tandem_lab::{CREDENTIALS_SECRET, eventually};

use crate::scene::{LIMIT, Scene};

/// A Deployment that opens no session; it is given the Secret, or nothing at all.
fn silent(name: &str, labels: &Value, given: bool) -> Value {
    let variables = if given {
        json!([{"secretRef": {"name": CREDENTIALS_SECRET}}])
    } else {
        json!([])
    };
    let container = json!({
        "name": "main", "image": "lab.local/empty:1", "imagePullPolicy": "Never", "envFrom": variables,
        "command": ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.2; done"],
    });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "labels": labels},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"terminationGracePeriodSeconds": 5, "containers": [container]},
            },
        },
    })
}

/// Waits until a Deployment has this many pods available.
async fn available(scene: &Scene, deployment: &str, pods: i32) -> Result<()> {
    let deployments: Api<Deployment> = scene.stage.namespace.api();
    eventually(format!("{pods} pods of {deployment}"), LIMIT, async || {
        let status = deployments.get(deployment).await?.status.unwrap_or_default();
        Ok((status.available_replicas == Some(pods)).then_some(()))
    })
    .await
}

#[test]
fn recreate_no_surge_a_budget_labels_and_who_only_passes_the_secret_on_are_restarted_once() {
    tandem_lab::run(|lab| async move {
        let targets = json!([{"kind": "Deployment", "matchLabels": {"reads": "from-relay"}}]);
        let policy = json!({"spec": {"restart": {"targets": targets}}});
        let scene = Scene::new(&lab, "shapes", policy).await?;
        let namespace = &scene.stage.namespace;
        let recreate = scene.app("recreate", 2).await?;
        let strategy = json!({"type": "Recreate", "rollingUpdate": null});
        recreate.change(&json!({"spec": {"strategy": strategy}})).await?;
        let in_place = scene.app("in-place", 2).await?;
        let strategy = json!({"rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}});
        in_place.change(&json!({"spec": {"strategy": strategy}})).await?;
        let relay = silent("relay", &json!({}), true);
        let reads = silent("reader", &json!({"reads": "from-relay"}), false);
        let other = silent("stranger", &json!({"reads": "nothing"}), false);
        // A rollout ends pods and does not evict them, so it asks no budget.
        let budget = json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "all"},
            "spec": {"minAvailable": "100%", "selector": {"matchLabels": {"app": "in-place"}}},
        });
        for object in [&relay, &reads, &other, &budget] {
            namespace.apply(&object.to_string()).await?;
        }
        for name in ["relay", "reader", "stranger"] {
            available(&scene, name, 1).await?;
        }

        let before = scene.credential().await?;
        let status = scene.rotate().await?;
        scene.sound(&before, &[&recreate, &in_place]).await?;
        let consumers: Vec<_> = status.consumers.iter().map(|c| c.name.as_str()).collect();
        ensure!(
            consumers == ["in-place", "reader", "recreate", "relay"],
            "{consumers:?}"
        );
        for name in consumers {
            ensure!(scene.revision(name).await? == 2, "{name} was not restarted once");
        }
        ensure!(
            scene.revision("stranger").await? == 1,
            "nobody asked for the stranger"
        );
        Ok(())
    });
}
