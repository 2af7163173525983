//! Applications in the lab, and what they counted.

mod manifest;
mod options;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

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
        let (name, params, patch) = (&self.options.name, PatchParams::default(), Patch::Merge(patch));
        match self.options.kind {
            Kind::Deployment => self
                .namespace
                .api::<Deployment>()
                .patch(name, &params, &patch)
                .await
                .map(drop),
            Kind::StatefulSet => self
                .namespace
                .api::<StatefulSet>()
                .patch(name, &params, &patch)
                .await
                .map(drop),
            Kind::DaemonSet => self
                .namespace
                .api::<DaemonSet>()
                .patch(name, &params, &patch)
                .await
                .map(drop),
            Kind::Job => self
                .namespace
                .api::<Job>()
                .patch(name, &params, &patch)
                .await
                .map(drop),
            Kind::Pod => self
                .namespace
                .api::<Pod>()
                .patch(name, &params, &patch)
                .await
                .map(drop),
        }
        .with_context(|| format!("cannot change {name}"))
    }

    /// Deletes it, without waiting until it is gone. Its tally stays.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn delete(&self) -> Result<()> {
        let (name, params) = (&self.options.name, DeleteParams::background());
        match self.options.kind {
            Kind::Deployment => self
                .namespace
                .api::<Deployment>()
                .delete(name, &params)
                .await
                .map(drop),
            Kind::StatefulSet => self
                .namespace
                .api::<StatefulSet>()
                .delete(name, &params)
                .await
                .map(drop),
            Kind::DaemonSet => self
                .namespace
                .api::<DaemonSet>()
                .delete(name, &params)
                .await
                .map(drop),
            Kind::Job => self.namespace.api::<Job>().delete(name, &params).await.map(drop),
            Kind::Pod => self.namespace.api::<Pod>().delete(name, &params).await.map(drop),
        }
        .with_context(|| format!("cannot delete {name}"))
    }

    async fn apply(&self) -> Result<()> {
        let own = [
            Mount::read_only(self.namespace.lab().programs(), "/lab/bin"),
            Mount::writable(&self.tally, "/lab/tally"),
        ];
        let manifest = manifest::manifest(&self.options, &own);
        let name = &self.options.name;
        match self.options.kind {
            Kind::Deployment => {
                self.namespace
                    .server_side_apply::<Deployment>(name, &parse(manifest)?)
                    .await
            }
            Kind::StatefulSet => {
                self.namespace
                    .server_side_apply::<StatefulSet>(name, &parse(manifest)?)
                    .await
            }
            Kind::DaemonSet => {
                self.namespace
                    .server_side_apply::<DaemonSet>(name, &parse(manifest)?)
                    .await
            }
            Kind::Job => {
                self.namespace
                    .server_side_apply::<Job>(name, &parse(manifest)?)
                    .await
            }
            Kind::Pod => {
                self.namespace
                    .server_side_apply::<Pod>(name, &parse(manifest)?)
                    .await
            }
        }
    }

    /// Fails with what the workload's own status says, until it says that it is done.
    async fn rolled_out(&self) -> Result<()> {
        let name = &self.options.name;
        let (seen, wanted, ready) = match self.options.kind {
            Kind::Job | Kind::Pod => return Ok(()),
            Kind::Deployment => {
                let found = self.namespace.api::<Deployment>().get(name).await?;
                let status = found.status.unwrap_or_default();
                let seen = status.observed_generation == found.metadata.generation;
                let ready = status
                    .available_replicas
                    .min(status.updated_replicas)
                    .min(status.replicas);
                (seen, found.spec.replicas, ready)
            }
            Kind::StatefulSet => {
                let found = self.namespace.api::<StatefulSet>().get(name).await?;
                let status = found.status.unwrap_or_default();
                let seen = status.observed_generation == found.metadata.generation;
                (
                    seen,
                    found.spec.replicas,
                    status.available_replicas.min(status.updated_replicas),
                )
            }
            Kind::DaemonSet => {
                let found = self.namespace.api::<DaemonSet>().get(name).await?;
                let status = found.status.unwrap_or_default();
                let seen = status.observed_generation == found.metadata.generation;
                (
                    seen,
                    Some(1),
                    status.number_available.min(status.updated_number_scheduled),
                )
            }
        };
        let (wanted, ready) = (wanted.unwrap_or(1), ready.unwrap_or_default());
        if !seen || ready < wanted {
            bail!("{ready} of {wanted} pods of the newest template are available");
        }
        Ok(())
    }
}

fn parse<K: serde::de::DeserializeOwned>(manifest: Value) -> Result<K> {
    serde_json::from_value(manifest).context("the application's manifest is wrong")
}
