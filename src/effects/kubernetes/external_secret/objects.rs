//! The parts of External Secrets Operator's objects that matter here. Whatever else they hold is ignored, and what is
//! absent is empty: the API server fills in defaults, and which of them depends on the operator's release.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    ExternalSecret,
    ClusterExternalSecret,
    SecretStore,
    ClusterSecretStore,
    PushSecret,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ExternalSecret => "ExternalSecret",
            Self::ClusterExternalSecret => "ClusterExternalSecret",
            Self::SecretStore => "SecretStore",
            Self::ClusterSecretStore => "ClusterSecretStore",
            Self::PushSecret => "PushSecret",
        }
    }

    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::ExternalSecret => "externalsecrets",
            Self::ClusterExternalSecret => "clusterexternalsecrets",
            Self::SecretStore => "secretstores",
            Self::ClusterSecretStore => "clustersecretstores",
            Self::PushSecret => "pushsecrets",
        }
    }

    pub(super) fn is_namespaced(self) -> bool {
        match self {
            Self::ExternalSecret | Self::SecretStore | Self::PushSecret => true,
            Self::ClusterExternalSecret | Self::ClusterSecretStore => false,
        }
    }
}

/// Any of them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(bound(deserialize = "S: Default + Deserialize<'de>"), default)]
pub(super) struct Object<S> {
    pub(super) metadata: ObjectMeta,
    pub(super) spec: S,
    pub(super) status: Status,
}

pub(super) type ExternalSecret = Object<ExternalSecretSpec>;
pub(super) type ClusterExternalSecret = Object<IgnoredAny>;
pub(super) type Store = Object<StoreSpec>;
pub(super) type PushSecret = Object<PushSecretSpec>;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Status {
    pub(super) conditions: Vec<Condition>,
    /// When the last sync that succeeded began.
    pub(super) refresh_time: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) status: String,
    pub(super) reason: String,
    pub(super) message: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ExternalSecretSpec {
    pub(super) secret_store_ref: StoreRef,
    pub(super) target: Target,
    pub(super) refresh_policy: String,
    pub(super) refresh_interval: Option<String>,
    pub(super) data: Vec<Data>,
    pub(super) data_from: Vec<DataFrom>,
}

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(default)]
pub(super) struct StoreRef {
    pub(super) name: String,
    pub(super) kind: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) creation_policy: String,
    pub(super) deletion_policy: String,
    pub(super) immutable: bool,
    pub(super) template: Option<Template>,
    /// Another kind of object to make, instead of a Secret.
    pub(super) manifest: Option<Manifest>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Manifest {
    pub(super) kind: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Template {
    pub(super) merge_policy: String,
    pub(super) data: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Data {
    pub(super) secret_key: String,
    pub(super) remote_ref: RemoteRef,
    pub(super) source_ref: SourceRef,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct RemoteRef {
    pub(super) key: String,
    pub(super) property: String,
    pub(super) version: String,
    pub(super) metadata_policy: String,
    pub(super) decoding_strategy: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct SourceRef {
    pub(super) store_ref: Option<StoreRef>,
    pub(super) generator_ref: Option<Generator>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Generator {
    pub(super) kind: String,
    pub(super) name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct DataFrom {
    pub(super) extract: Option<RemoteRef>,
    pub(super) find: Option<IgnoredAny>,
    pub(super) source_ref: SourceRef,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StoreSpec {
    /// Class of the operators that handle it; any when it is empty.
    pub(super) controller: String,
    pub(super) provider: Provider,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Provider {
    pub(super) aws: Option<Aws>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Aws {
    pub(super) service: String,
    pub(super) region: String,
    /// Put before every key.
    pub(super) prefix: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PushSecretSpec {
    pub(super) update_policy: String,
    pub(super) secret_store_refs: Vec<StoreRef>,
    pub(super) data: Vec<Push>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Push {
    #[serde(rename = "match")]
    pub(super) what: PushMatch,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PushMatch {
    pub(super) remote_ref: PushRef,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PushRef {
    pub(super) remote_key: String,
}

impl<S> Object<S> {
    pub(super) fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    pub(super) fn is_going(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    pub(super) fn annotation(&self, key: &str) -> Option<&str> {
        let annotations = self.metadata.annotations.as_ref()?;
        annotations.get(key).map(String::as_str)
    }
}

impl Status {
    /// What is said of being ready; nothing when no operator has looked at the object yet.
    pub(super) fn ready(&self) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == "Ready")
    }
}

impl Condition {
    pub(super) fn holds(&self) -> bool {
        self.status == "True"
    }
}

impl StoreRef {
    pub(super) fn kind(&self) -> Kind {
        if self.kind == Kind::ClusterSecretStore.name() {
            Kind::ClusterSecretStore
        } else {
            Kind::SecretStore
        }
    }
}

impl ExternalSecret {
    /// The Secret that it makes.
    pub(super) fn target(&self) -> &str {
        let name = &self.spec.target.name;
        if name.is_empty() { self.name() } else { name }
    }

    /// The `ClusterExternalSecret` that made it, and that undoes what is changed on it.
    pub(super) fn owner(&self) -> Option<&str> {
        let owners = self.metadata.owner_references.iter().flatten();
        owners
            .filter(|owner| owner.api_version.starts_with("external-secrets.io/"))
            .find(|owner| owner.kind == Kind::ClusterExternalSecret.name())
            .map(|owner| owner.name.as_str())
    }

    /// The store that an entry with this source reads.
    pub(super) fn store_of<'a>(&'a self, source: &'a SourceRef) -> &'a StoreRef {
        let own = source.store_ref.as_ref().filter(|store| !store.name.is_empty());
        own.unwrap_or(&self.spec.secret_store_ref)
    }

    /// Every store that it reads.
    pub(super) fn stores(&self) -> Vec<&StoreRef> {
        let data = self.spec.data.iter().map(|data| &data.source_ref);
        let sources = data.chain(self.spec.data_from.iter().map(|from| &from.source_ref));
        let mut stores: Vec<_> = sources
            .filter(|source| source.generator_ref.is_none())
            .map(|source| self.store_of(source))
            .collect();
        stores.sort();
        stores.dedup();
        stores
    }
}

impl PushSecret {
    /// The secrets in the store that it writes.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        let data = self.spec.data.iter();
        data.map(|data| data.what.remote_ref.remote_key.as_str())
    }
}
