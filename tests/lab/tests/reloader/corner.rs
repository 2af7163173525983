//! A namespace with one Secret and one Deployment that asks to be reloaded for it.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace as NamespaceObject, Secret};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tandem_lab::{Lab, Namespace};

use crate::given::{Given, LAST, hash, secret, web};
use crate::promptly::promptly;

const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Corner {
    pub(crate) namespace: Namespace,
}

impl Corner {
    /// With the Deployment `web`.
    pub(crate) async fn new(lab: &Lab) -> Result<Self> {
        Self::with(lab, web().named("db")).await
    }

    pub(crate) async fn with(lab: &Lab, workload: Given) -> Result<Self> {
        let namespace = lab.namespace("reloader").await?;
        let secrets: Api<Secret> = namespace.api();
        let source: Secret = serde_json::from_value(secret("db", "p0"))?;
        secrets.create(&PostParams::default(), &source).await?;
        let corner = Self { namespace };
        corner.add(&workload).await?;
        Ok(corner)
    }

    pub(crate) async fn add(&self, deployment: &Given) -> Result<()> {
        let api: Api<Deployment> = self.namespace.api();
        let object: Deployment = serde_json::from_value(deployment.object())?;
        api.create(&PostParams::default(), &object).await?;
        Ok(())
    }

    pub(crate) fn name(&self) -> &str {
        self.namespace.name()
    }

    /// Changes the password in the Secret.
    pub(crate) async fn change(&self, password: &str) -> Result<()> {
        let api: Api<Secret> = self.namespace.api();
        let patch = Patch::Merge(json!({"stringData": {"password": password}}));
        api.patch("db", &PatchParams::default(), &patch).await?;
        Ok(())
    }

    /// Waits until the Deployment `web` has the variable for a password.
    pub(crate) async fn until_handled(&self, password: &str) -> Result<()> {
        let wanted = hash(&format!("password={password};username=app_a"));
        let handled = promptly(format!("{password} to be handled"), SOON, async || {
            let found = self.variable("web").await?;
            ensure!(found.as_ref() == Some(&wanted), "the variable is {found:?}");
            Ok(Some(()))
        });
        handled.await.with_context(|| format!("in {}", self.name()))
    }

    pub(crate) async fn variable(&self, deployment: &str) -> Result<Option<String>> {
        let api: Api<Deployment> = self.namespace.api();
        let found = serde_json::to_value(api.get(deployment).await?)?;
        let variables = found.pointer("/spec/template/spec/containers/0/env");
        let mut variables = variables.and_then(Value::as_array).into_iter().flatten();
        let ours = variables.find(|variable| variable["name"] == "STAKATER_DB_SECRET");
        Ok(ours
            .and_then(|variable| variable["value"].as_str())
            .map(str::to_owned))
    }

    /// The mark of the other strategy.
    pub(crate) async fn mark(&self, deployment: &str) -> Result<Option<Value>> {
        let api: Api<Deployment> = self.namespace.api();
        let template = api.get(deployment).await?.spec.template;
        let annotations = template.metadata.unwrap_or_default().annotations;
        let text = annotations.unwrap_or_default().remove(LAST);
        Ok(text.map(|text| serde_json::from_str(&text)).transpose()?)
    }

    /// How often the Deployment's spec was written since it was made.
    pub(crate) async fn writes(&self) -> Result<i64> {
        let api: Api<Deployment> = self.namespace.api();
        let generation = api.get("web").await?.metadata.generation;
        Ok(generation.context("no generation")? - 1)
    }

    /// Gives the namespace a label, or takes it away.
    pub(crate) async fn label(&self, key: &str, value: Option<&str>) -> Result<()> {
        let api: Api<NamespaceObject> = Api::all(self.namespace.client());
        let patch = Patch::Merge(json!({"metadata": {"labels": {key: value}}}));
        api.patch(self.name(), &PatchParams::default(), &patch).await?;
        Ok(())
    }
}
