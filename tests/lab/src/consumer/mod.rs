//! Applications in the lab, and what they counted.

mod manifest;
mod options;
mod sidecar;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::host::pgbouncer;
use crate::namespace::Namespace;
use crate::pods::{Mount, is_ready, state};
use crate::poll::eventually;
use crate::tally::Tally;
pub use options::{ConsumerOptions, Kind, Source};

const READY: Duration = Duration::from_mins(2);

/// A running application.
#[derive(Clone)]
pub struct Consumer {
    namespace: Namespace,
    options: ConsumerOptions,
    tally: PathBuf,
}

impl Namespace {
    /// Runs an application; returns when all its pods are ready, unless told not to wait.
    ///
    /// # Errors
    /// When they are not in time.
    pub async fn consumer(&self, options: ConsumerOptions) -> Result<Consumer> {
        if options.sidecar.is_some() {
            tokio::task::spawn_blocking(pgbouncer::install).await??;
        }
        let tally = self
            .lab()
            .home()
            .join("tally")
            .join(self.name())
            .join(&options.name);
        fs::create_dir_all(&tally).with_context(|| format!("cannot create {}", tally.display()))?;
        let consumer = Consumer {
            namespace: self.clone(),
            options,
            tally,
        };
        consumer.apply().await?;
        if consumer.options.wait {
            consumer.wait_until_ready().await?;
        }
        Ok(consumer)
    }
}

impl Consumer {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// What it was asked to be.
    #[must_use]
    pub fn options(&self) -> &ConsumerOptions {
        &self.options
    }

    /// What all its pods have counted, those included that are gone. It is at most a quarter of a second old.
    ///
    /// # Errors
    /// When a count cannot be read.
    pub fn tally(&self) -> Result<Tally> {
        Tally::read(&self.tally)
    }

    /// Its pods that exist, those included that are being ended.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub async fn pods(&self) -> Result<Vec<Pod>> {
        let pods: Api<Pod> = self.namespace.api();
        Ok(pods
            .list(&ListParams::default().labels(&format!("app={}", self.options.name)))
            .await?
            .items)
    }

    /// Waits until all its pods are of its newest template, and ready, and no others are left.
    ///
    /// # Errors
    /// When that is not so in time.
    pub async fn wait_until_ready(&self) -> Result<()> {
        let what = format!(
            "the {:?} {}/{} to be ready",
            self.options.kind,
            self.namespace.name(),
            self.options.name
        );
        let ready = eventually(what, READY, async || {
            self.rolled_out().await?;
            let pods = self.pods().await?;
            if let Some(pod) = pods
                .iter()
                .find(|pod| !is_ready(pod) || pod.metadata.deletion_timestamp.is_some())
            {
                bail!(state(pod));
            }
            Ok((!pods.is_empty() || self.options.replicas == 0).then_some(()))
        });
        ready.await
    }

    /// Starts to replace its pods one after the other, as `kubectl rollout restart` does.
    ///
    /// # Errors
    /// When the API server refuses, or the kind has no rollouts.
    pub async fn restart(&self) -> Result<()> {
        let mark = json!({"lab/restarted": jiff::Timestamp::now()});
        self.change(&json!({"spec": {"template": {"metadata": {"annotations": mark}}}}))
            .await
    }

    /// Asks for another number of pods.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn scale(&self, replicas: i32) -> Result<()> {
        self.change(&json!({"spec": {"replicas": replicas}})).await
    }

    /// Changes the object by a merge patch.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn change(&self, patch: &Value) -> Result<()> {
        let (name, params) = (&self.options.name, PatchParams::default());
        let changed = self.objects().patch(name, &params, &Patch::Merge(patch)).await;
        changed.map(drop).with_context(|| format!("cannot change {name}"))
    }

    /// Deletes it, without waiting until it is gone. Its tally stays.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn delete(&self) -> Result<()> {
        let name = &self.options.name;
        let deleted = self.objects().delete(name, &DeleteParams::background()).await;
        deleted.map(drop).with_context(|| format!("cannot delete {name}"))
    }

    async fn apply(&self) -> Result<()> {
        let own = [
            Mount::read_only(self.namespace.lab().programs(), "/lab/bin"),
            Mount::writable(&self.tally, "/lab/tally"),
        ];
        let manifest = manifest::manifest(&self.options, &own);
        let (name, kind) = (&self.options.name, self.options.kind);
        let params = PatchParams::apply("tandem-lab").force();
        let applied = self.objects().patch(name, &params, &Patch::Apply(manifest)).await;
        let namespace = self.namespace.name();
        applied
            .map(drop)
            .with_context(|| format!("cannot apply the {kind:?} {namespace}/{name}"))
    }

    /// Fails with what the workload's own status says, until it says that it is done.
    async fn rolled_out(&self) -> Result<()> {
        let number = |found: &DynamicObject, path: &str| found.data.pointer(path).and_then(Value::as_i64);
        let counters = match self.options.kind {
            Kind::Job | Kind::CronJob | Kind::Pod => return Ok(()),
            Kind::ReplicaSet => ["/status/availableReplicas"].as_slice(),
            Kind::Deployment | Kind::Rollout => &[
                "/status/availableReplicas",
                "/status/updatedReplicas",
                "/status/replicas",
            ],
            Kind::StatefulSet => &["/status/availableReplicas", "/status/updatedReplicas"],
            Kind::DaemonSet => &["/status/numberAvailable", "/status/updatedNumberScheduled"],
        };
        let found = self.objects().get(&self.options.name).await?;
        // Argo Rollouts writes it as text.
        let observed = found.data.pointer("/status/observedGeneration");
        let observed = observed.and_then(|seen| seen.as_i64().or_else(|| seen.as_str()?.parse().ok()));
        let counted = counters
            .iter()
            .map(|path| number(&found, path).unwrap_or_default());
        let ready = counted.min().unwrap_or_default();
        let wanted = number(&found, "/spec/replicas").unwrap_or(1);
        if observed != found.metadata.generation || ready < wanted {
            bail!("{ready} of {wanted} pods of the newest template are available");
        }
        Ok(())
    }

    fn objects(&self) -> Api<DynamicObject> {
        let (namespace, resource) = (&self.namespace, self.options.kind.resource());
        Api::namespaced_with(namespace.client(), namespace.name(), &resource)
    }
}
