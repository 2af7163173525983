//! What a Reloader watches, as far as it looks at it.

use std::collections::BTreeMap;
use std::fmt::Debug;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::core::NamespaceResourceScope;
use serde::de::DeserializeOwned;

use super::decide::Annotations;
use super::hash;

/// The two kinds that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    Secret,
    ConfigMap,
}

impl Resource {
    /// As flags, events and metrics name it.
    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::Secret => "secrets",
            Self::ConfigMap => "configmaps",
        }
    }

    /// As marks name it.
    pub(super) fn shouted(self) -> &'static str {
        match self {
            Self::Secret => "SECRET",
            Self::ConfigMap => "CONFIGMAP",
        }
    }
}

/// One version of a watched object.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) resource: Resource,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) annotations: Annotations,
    pub(super) hash: String,
}

/// A kind of object that can be watched.
pub(super) trait Watched:
    kube::Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + 'static
{
    const RESOURCE: Resource;

    fn hash(&self) -> String;

    fn subject(&self) -> Subject {
        let metadata = self.meta();
        Subject {
            resource: Self::RESOURCE,
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
            annotations: metadata.annotations.clone().unwrap_or_default(),
            hash: self.hash(),
        }
    }
}

impl Watched for Secret {
    const RESOURCE: Resource = Resource::Secret;

    fn hash(&self) -> String {
        hash::of_secret(self.data.as_ref().unwrap_or(&BTreeMap::new()))
    }
}

impl Watched for ConfigMap {
    const RESOURCE: Resource = Resource::ConfigMap;

    fn hash(&self) -> String {
        let (texts, binary) = (BTreeMap::new(), BTreeMap::new());
        hash::of_config_map(
            self.data.as_ref().unwrap_or(&texts),
            self.binary_data.as_ref().unwrap_or(&binary),
        )
    }
}
