//! A namespace of the cluster that belongs to one test.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Client;
use kube::api::{Api, ObjectMeta, Patch, PatchParams};

use crate::lab::Lab;

/// A namespace that is deleted at the end of the test that made it.
#[derive(Clone)]
pub struct Namespace {
    lab: Lab,
    name: String,
}

impl Namespace {
    pub(crate) fn new(lab: Lab, name: String) -> Self {
        Self { lab, name }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A client with all rights, in all namespaces.
    #[must_use]
    pub fn client(&self) -> Client {
        self.lab.admin()
    }

    /// The lab that it is in.
    #[must_use]
    pub fn lab(&self) -> &Lab {
        &self.lab
    }

    /// The API of one kind of object in this namespace.
    #[must_use]
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client(), &self.name)
    }

    /// Applies all documents of a YAML text in this namespace.
    ///
    /// # Errors
    /// With what the API server said, when it refused one of them.
    pub async fn apply(&self, yaml: &str) -> Result<()> {
        self.lab.apply(Some(&self.name), yaml).await
    }

    /// Creates a Secret, or sets exactly these keys of it.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn secret(&self, name: &str, data: &[(&str, &str)]) -> Result<()> {
        let secret = Secret {
            metadata: self.metadata(name),
            string_data: Some(strings(data)),
            ..Secret::default()
        };
        self.server_side_apply(name, &secret).await
    }

    /// Creates a `ConfigMap`, or sets exactly these keys of it.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn config_map(&self, name: &str, data: &[(&str, &str)]) -> Result<()> {
        let map = ConfigMap {
            metadata: self.metadata(name),
            data: Some(strings(data)),
            ..ConfigMap::default()
        };
        self.server_side_apply(name, &map).await
    }

    /// All keys of a Secret whose values are text.
    ///
    /// # Errors
    /// When there is no such Secret.
    pub async fn read_secret(&self, name: &str) -> Result<BTreeMap<String, String>> {
        let secrets: Api<Secret> = self.api();
        let secret = secrets
            .get(name)
            .await
            .with_context(|| format!("cannot read the Secret {}/{name}", self.name))?;
        let data = secret.data.unwrap_or_default().into_iter();
        Ok(data
            .filter_map(|(key, value)| Some((key, String::from_utf8(value.0).ok()?)))
            .collect())
    }

    pub(crate) fn metadata(&self, name: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(self.name.clone()),
            ..ObjectMeta::default()
        }
    }

    pub(crate) async fn server_side_apply<K>(&self, name: &str, object: &K) -> Result<()>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        K: Clone + std::fmt::Debug + serde::de::DeserializeOwned + serde::Serialize,
        K::DynamicType: Default,
    {
        let kind = K::kind(&K::DynamicType::default()).into_owned();
        let params = PatchParams::apply("tandem-lab").force();
        let applied = self.api::<K>().patch(name, &params, &Patch::Apply(object)).await;
        applied.with_context(|| format!("cannot apply the {kind} {}/{name}", self.name))?;
        Ok(())
    }
}

fn strings(data: &[(&str, &str)]) -> BTreeMap<String, String> {
    data.iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}
