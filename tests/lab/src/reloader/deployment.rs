//! The Deployment that Reloader names when it says where it runs. Its pod is real, and does nothing: the program runs
//! beside it. So it can be scaled, deleted and looked at, and it looks well whatever the program does.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::ReloaderOptions;
use crate::namespace::Namespace;
use crate::node::IMAGE;
use crate::poll::eventually;

const SCALED: Duration = Duration::from_mins(1);
/// Its first process has to listen to the signal to end, which a bare `sleep` does not.
const SLEEP: &str = "trap exit TERM; sleep 2147483647 & wait";

/// Brings it to this many replicas, and waits until they are available, or gone.
pub(super) async fn scale(namespace: &Namespace, options: &ReloaderOptions, replicas: i32) -> Result<()> {
    let api: Api<Deployment> = namespace.api();
    let (name, params) = (&options.name, PatchParams::apply("tandem-lab").force());
    let patch = Patch::Apply(manifest(namespace.name(), options, replicas));
    let applied = api.patch(name, &params, &patch).await;
    applied.with_context(|| format!("cannot apply the Deployment {}/{name}", namespace.name()))?;
    let what = format!(
        "the Deployment {}/{name} to have {replicas} replicas",
        namespace.name()
    );
    let scaled = eventually(what, SCALED, async || {
        let deployment = api.get(name).await?;
        let status = deployment.status.unwrap_or_default();
        ensure!(
            status.observed_generation == deployment.metadata.generation,
            "its controller has not seen it"
        );
        let (all, available) = (
            status.replicas.unwrap_or(0),
            status.available_replicas.unwrap_or(0),
        );
        ensure!(
            (all, available) == (replicas, replicas),
            "it has {all}, {available} available"
        );
        Ok(Some(()))
    });
    scaled.await
}

/// Deletes it; nothing happens when there is none.
pub(super) async fn delete(namespace: &Namespace, options: &ReloaderOptions) -> Result<()> {
    let api: Api<Deployment> = namespace.api();
    match api.delete(&options.name, &DeleteParams::default()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot delete the Deployment {}", options.name)),
    }
}

/// With the program's arguments and variables, as the chart writes them.
fn manifest(namespace: &str, options: &ReloaderOptions, replicas: i32) -> Value {
    let own = json!({"fieldRef": {"fieldPath": "metadata.namespace"}});
    let mut env = vec![
        json!({"name": "RELOADER_NAMESPACE", "valueFrom": own}),
        json!({"name": "RELOADER_DEPLOYMENT_NAME", "value": options.name}),
    ];
    if !options.wide {
        env.push(json!({"name": "KUBERNETES_NAMESPACE", "valueFrom": own}));
    }
    for (name, value) in &options.env {
        env.push(json!({"name": name, "value": value}));
    }
    let labels = json!({"app": options.name});
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": options.name, "namespace": namespace, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{
                        "name": options.name,
                        "image": IMAGE,
                        "imagePullPolicy": "Never",
                        // What follows the script is the script's to ignore.
                        "command": ["/bin/sh", "-c", SLEEP, "--"],
                        "args": options.args,
                        "env": env,
                    }],
                },
            },
        },
    })
}
