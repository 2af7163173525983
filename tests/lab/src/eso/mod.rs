//! The External Secrets Operator as a process of its own for each namespace that wants one, so that a test can stop its
//! operator without a word to the others.

mod manifests;
mod process;
mod rights;
mod tidy;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::aws::{AccessKey, Aws};
use crate::host::programs;
use crate::join::outside;
use crate::lab::Lab;
use crate::namespace::Namespace;
use crate::process::Process;
pub(crate) use tidy::clean_up;

const GROUP: &str = "external-secrets.io";
/// The Secret with the access key that the stores use.
pub const AWS_KEYS_SECRET: &str = "aws-keys";
/// Marks what is in no namespace with the name of the namespace that it is for.
const FOR_NAMESPACE: &str = "lab.tandem.dev/namespace";

/// How an operator is to run.
#[derive(Clone, Debug)]
pub struct EsoOptions {
    /// The URL at which it finds AWS Secrets Manager and STS.
    pub aws: String,
    /// The AWS region of the stores.
    pub region: String,
    /// Whether it handles `ClusterExternalSecret`s too. An operator that does so handles all of the cluster, so there is
    /// one of them at a time, and the next waits until it is dropped.
    pub cluster_external_secrets: bool,
    /// More arguments.
    pub args: Vec<String>,
}

impl EsoOptions {
    /// One that uses this store.
    #[must_use]
    pub fn of(aws: &Aws) -> Self {
        Self {
            aws: aws.endpoint(),
            region: aws.region().to_owned(),
            cluster_external_secrets: false,
            args: Vec::new(),
        }
    }

    /// One that handles `ClusterExternalSecret`s too.
    #[must_use]
    pub fn with_cluster_external_secrets(self) -> Self {
        Self {
            cluster_external_secrets: true,
            ..self
        }
    }

    /// With one more argument.
    #[must_use]
    pub fn arg(mut self, argument: &str) -> Self {
        self.args.push(argument.to_owned());
        self
    }
}

/// An operator that handles the objects of one namespace, until it is stopped or dropped.
///
/// It is restricted to its namespace by its own flag and by its rights. Of the `ClusterSecretStore`s it handles those of
/// the class that is named as the namespace, which [`Eso::cluster_secret_store`] makes.
pub struct Eso {
    namespace: Namespace,
    options: EsoOptions,
    program: PathBuf,
    dir: PathBuf,
    process: Option<Process>,
    _alone: Option<File>,
}

/// What the operator says of one `ExternalSecret`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Synced {
    /// The condition `Ready`; absent until the operator has said something.
    pub ready: Option<bool>,
    /// The condition's reason.
    pub reason: String,
    /// The condition's message.
    pub message: String,
    /// When the last sync that succeeded began, to the second.
    pub at: Option<Timestamp>,
    /// The generation and a hash of labels and annotations, as of the last sync that succeeded.
    pub version: Option<String>,
    /// The name of the Secret.
    pub secret: Option<String>,
}

impl Namespace {
    /// Starts an operator for this namespace. Returns when it works.
    ///
    /// The first one of a machine waits until it is built, the first one of a lab for its definitions.
    ///
    /// # Errors
    /// When it does not work in time, with the end of its log.
    pub async fn eso(&self, options: EsoOptions) -> Result<Eso> {
        let lab = self.lab();
        let program = tokio::task::spawn_blocking(|| outside(programs::eso)).await??;
        define(lab).await?;
        let alone = if options.cluster_external_secrets {
            let home = lab.home().clone();
            Some(tokio::task::spawn_blocking(move || home.alone("cluster-external-secrets")).await??)
        } else {
            None
        };
        // Made first: by this directory the end of the test knows what to tidy.
        let dir = tidy::directory(lab, self.name());
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        self.apply(&rights::manifests(self.name(), options.cluster_external_secrets))
            .await?;
        let mut eso = Eso {
            namespace: self.clone(),
            options,
            program,
            dir,
            process: None,
            _alone: alone,
        };
        eso.start().await?;
        Ok(eso)
    }
}

/// Brings the operator's definitions into the cluster, once for each lab.
async fn define(lab: &Lab) -> Result<()> {
    let lab = lab.clone();
    let defining = tokio::task::spawn_blocking(move || {
        let definitions = outside(programs::eso_definitions)?;
        lab.define("eso", &definitions)
    });
    defining
        .await?
        .context("cannot define the External Secrets Operator's objects")
}

impl Eso {
    /// The name of its service account, which is in its namespace.
    #[must_use]
    pub fn service_account(&self) -> &str {
        rights::NAME
    }

    /// Its class: what a store's `spec.controller` says when no other operator is to handle it.
    #[must_use]
    pub fn class(&self) -> &str {
        self.namespace.name()
    }

    /// Starts it again. Returns when it works.
    ///
    /// # Errors
    /// When it does not in time, with the end of its log.
    pub async fn start(&mut self) -> Result<()> {
        self.stop().await?;
        let lab = self.namespace.lab();
        let kubeconfig = lab.kubeconfig_as(self.namespace.name(), rights::NAME).await?;
        let process =
            process::start(&self.program, &self.dir, &kubeconfig, self.class(), &self.options).await?;
        self.process = Some(process);
        Ok(())
    }

    /// Ends it at once, as a crash does. When it is not running, nothing happens.
    ///
    /// # Errors
    /// When the machine refuses.
    pub async fn stop(&mut self) -> Result<()> {
        match self.process.take() {
            Some(process) => process.kill().await,
            None => Ok(()),
        }
    }

    /// What it has logged, its earlier runs included.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn logs(&self) -> Result<String> {
        process::logs(&self.dir)
    }

    /// Gives the stores this key, in the Secret [`AWS_KEYS_SECRET`].
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn keys(&self, key: &AccessKey) -> Result<()> {
        let data = [
            (manifests::KEY_ID, key.id.as_str()),
            (manifests::KEY, key.secret.as_str()),
        ];
        self.namespace.secret(AWS_KEYS_SECRET, &data).await
    }

    /// Applies objects, all at once.
    ///
    /// # Errors
    /// With what the API server said, when it refused one of them.
    pub async fn apply(&self, objects: &[Value]) -> Result<()> {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        self.namespace.apply(&list.to_string()).await
    }

    /// What it says of an `ExternalSecret`.
    ///
    /// # Errors
    /// When there is no such object.
    pub async fn synced(&self, external_secret: &str) -> Result<Synced> {
        let api = self.objects("v1", "ExternalSecret");
        let found = api.get(external_secret).await;
        let found = found.with_context(|| format!("cannot read the ExternalSecret {external_secret}"))?;
        let status = found.data.get("status").cloned().unwrap_or_else(|| json!({}));
        let status: Status = serde_json::from_value(status)
            .with_context(|| format!("cannot understand the status of {external_secret}"))?;
        Ok(status.into())
    }

    /// Asks for a sync, as a person would: by an annotation with a value that it did not have.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn annotate(&self, external_secret: &str, value: &str) -> Result<()> {
        let patch = Patch::Merge(json!({"metadata": {"annotations": {"force-sync": value}}}));
        let api = self.objects("v1", "ExternalSecret");
        let patched = api.patch(external_secret, &PatchParams::default(), &patch).await;
        patched.with_context(|| format!("cannot annotate the ExternalSecret {external_secret}"))?;
        Ok(())
    }

    fn objects(&self, version: &str, kind: &str) -> Api<DynamicObject> {
        Api::namespaced_with(
            self.namespace.client(),
            self.namespace.name(),
            &resource(version, kind),
        )
    }
}

fn resource(version: &str, kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(GROUP, version, kind))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Status {
    conditions: Vec<Condition>,
    refresh_time: Option<Timestamp>,
    synced_resource_version: Option<String>,
    binding: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

impl From<Status> for Synced {
    fn from(status: Status) -> Self {
        let ready = status
            .conditions
            .into_iter()
            .find(|condition| condition.kind == "Ready");
        let said = ready.map(|ready| (ready.status == "True", ready.reason, ready.message));
        let (ready, reason, message) = said.map_or_else(
            || (None, String::new(), String::new()),
            |(ready, reason, message)| (Some(ready), reason, message),
        );
        Self {
            ready,
            reason,
            message,
            at: status.refresh_time,
            version: status
                .synced_resource_version
                .filter(|version| !version.is_empty()),
            secret: status
                .binding
                .get("name")
                .filter(|name| !name.is_empty())
                .cloned(),
        }
    }
}
