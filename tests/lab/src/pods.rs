//! Parts of pod manifests, and pods that run any program of the machine.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use serde_json::{Value, json};

use crate::namespace::Namespace;
use crate::node::IMAGE;
use crate::poll::eventually;

const READY: Duration = Duration::from_secs(90);

/// A directory of the machine in a pod.
#[derive(Clone, Debug)]
pub struct Mount {
    /// The directory on the machine.
    pub host: std::path::PathBuf,
    /// Where the pod sees it.
    pub path: String,
    /// Whether the pod may write to it.
    pub writable: bool,
}

impl Mount {
    /// A directory that the pod can only read.
    pub fn read_only(host: impl AsRef<Path>, path: &str) -> Self {
        Self {
            host: host.as_ref().to_owned(),
            path: path.to_owned(),
            writable: false,
        }
    }

    /// A directory that the pod can write to.
    pub fn writable(host: impl AsRef<Path>, path: &str) -> Self {
        Self {
            writable: true,
            ..Self::read_only(host, path)
        }
    }
}

/// The machine's programs and libraries, as every pod of the lab sees them.
pub(crate) fn machine() -> Vec<Mount> {
    [("/usr", "/usr"), ("/usr/lib", "/lib"), ("/usr/lib64", "/lib64")]
        .iter()
        .filter(|(host, _)| Path::new(host).is_dir())
        .map(|(host, path)| Mount::read_only(host, path))
        .collect()
}

/// The volumes of a pod that has these directories.
pub(crate) fn volumes(mounts: &[Mount]) -> Vec<Value> {
    let volume = |(number, mount): (usize, &Mount)| json!({"name": format!("host-{number}"), "hostPath": {"path": mount.host}});
    mounts.iter().enumerate().map(volume).collect()
}

/// The mounts of a container that sees them.
pub(crate) fn volume_mounts(mounts: &[Mount]) -> Vec<Value> {
    let one = |(number, mount): (usize, &Mount)| json!({"name": format!("host-{number}"), "mountPath": mount.path, "readOnly": !mount.writable});
    mounts.iter().enumerate().map(one).collect()
}

impl Namespace {
    /// Runs a program of the machine, or a shell's script, in a pod that sees the machine's programs and the given
    /// directories; returns when it runs.
    ///
    /// # Errors
    /// When it does not run in time.
    pub async fn pod(&self, name: &str, command: &[&str], mounts: &[Mount]) -> Result<()> {
        let mounts: Vec<Mount> = machine().into_iter().chain(mounts.iter().cloned()).collect();
        let pod = json!({
            "metadata": {"name": name, "labels": {"app": name}},
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "volumes": volumes(&mounts),
                "containers": [{
                    "name": "main",
                    "image": IMAGE,
                    "imagePullPolicy": "Never",
                    "command": command,
                    "volumeMounts": volume_mounts(&mounts),
                }],
            },
        });
        let pod: Pod = serde_json::from_value(pod).context("the pod's manifest is wrong")?;
        self.server_side_apply(name, &pod).await?;
        self.pod_ready(name).await
    }

    /// Waits until a pod is ready.
    ///
    /// # Errors
    /// When it is not in time, with the reason that the cluster gives.
    pub async fn pod_ready(&self, name: &str) -> Result<()> {
        let pods: Api<Pod> = self.api();
        let what = format!("the pod {}/{name} to be ready", self.name());
        let ready = eventually(what, READY, async || {
            let pod = pods.get(name).await?;
            if is_ready(&pod) {
                return Ok(Some(()));
            }
            bail!(state(&pod))
        });
        ready.await
    }
}

/// Whether the pod's own condition says that it is ready.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_deref())
        .unwrap_or_default();
    conditions
        .iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Why a pod is not ready, as far as the cluster says.
pub(crate) fn state(pod: &Pod) -> String {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let Some(status) = &pod.status else {
        return format!("{name} has no status");
    };
    let mut said = vec![format!(
        "{name} is {}",
        status.phase.as_deref().unwrap_or("of no phase")
    )];
    for container in status.container_statuses.iter().flatten() {
        let state = container.state.as_ref();
        if let Some(waiting) = state.and_then(|state| state.waiting.as_ref()) {
            let message = waiting.message.as_deref().unwrap_or_default();
            said.push(format!(
                "{} waits: {} {message}",
                container.name,
                waiting.reason.as_deref().unwrap_or_default()
            ));
        }
        if let Some(ended) = state.and_then(|state| state.terminated.as_ref()) {
            said.push(format!("{} exited with {}", container.name, ended.exit_code));
        }
        if container.restart_count > 0 {
            said.push(format!("{} restarts", container.restart_count));
        }
    }
    said.join(", ")
}
