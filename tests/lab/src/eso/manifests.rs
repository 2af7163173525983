//! The operator's objects as tests usually want them. A test that wants something else changes the value.

use serde_json::{Value, json};

use super::{AWS_KEYS_SECRET, Eso, FOR_NAMESPACE};

/// The keys of the Secret with the static keys.
pub(super) const KEY_ID: &str = "id";
pub(super) const KEY: &str = "key";
/// As the operator writes it: another spelling of the hour it would correct, and so change the generation.
const HOUR: &str = "1h0m0s";

impl Eso {
    /// A `SecretStore`.
    #[must_use]
    pub fn secret_store(&self, name: &str) -> Value {
        json!({
            "apiVersion": "external-secrets.io/v1",
            "kind": "SecretStore",
            "metadata": {"name": name},
            "spec": {"provider": {"aws": self.aws(&json!({}))}},
        })
    }

    /// A `ClusterSecretStore` that this operator alone handles. It reads the keys in the operator's namespace, and puts
    /// the prefix before every secret's name. Its name has to be one that no other test uses.
    #[must_use]
    pub fn cluster_secret_store(&self, name: &str, prefix: &str) -> Value {
        let mut aws = self.aws(&json!({"namespace": self.namespace.name()}));
        if let Some(aws) = aws.as_object_mut() {
            aws.insert("prefix".to_owned(), prefix.into());
        }
        json!({
            "apiVersion": "external-secrets.io/v1",
            "kind": "ClusterSecretStore",
            "metadata": self.in_no_namespace(name),
            "spec": {"controller": self.class(), "provider": {"aws": aws}},
        })
    }

    /// An `ExternalSecret` that makes the Secret of its own name of some properties of a JSON secret in a `SecretStore`.
    #[must_use]
    pub fn external_secret(&self, name: &str, store: &str, secret: &str, properties: &[&str]) -> Value {
        json!({
            "apiVersion": "external-secrets.io/v1",
            "kind": "ExternalSecret",
            "metadata": {"name": name},
            "spec": external_secret("SecretStore", store, secret, properties),
        })
    }

    /// A `ClusterExternalSecret` that makes an `ExternalSecret` of the given name in the operator's namespace, as
    /// [`Eso::external_secret`] is, but of a `ClusterSecretStore`. It has the name of the store.
    #[must_use]
    pub fn cluster_external_secret(
        &self,
        name: &str,
        store: &str,
        secret: &str,
        properties: &[&str],
    ) -> Value {
        json!({
            "apiVersion": "external-secrets.io/v1",
            "kind": "ClusterExternalSecret",
            "metadata": self.in_no_namespace(store),
            "spec": {
                "externalSecretName": name,
                "namespaceSelectors": [{"matchLabels": {"kubernetes.io/metadata.name": self.namespace.name()}}],
                "refreshTime": "1m0s",
                "externalSecretSpec": external_secret("ClusterSecretStore", store, secret, properties),
            },
        })
    }

    /// A `PushSecret` that writes keys of a Secret into properties of a JSON secret of the same names.
    #[must_use]
    pub fn push_secret(&self, name: &str, store: &str, source: &str, secret: &str, keys: &[&str]) -> Value {
        let data = keys.iter().map(
            |key| json!({"match": {"secretKey": key, "remoteRef": {"remoteKey": secret, "property": key}}}),
        );
        json!({
            "apiVersion": "external-secrets.io/v1alpha1",
            "kind": "PushSecret",
            "metadata": {"name": name},
            "spec": {
                "refreshInterval": HOUR,
                "secretStoreRefs": [{"kind": "SecretStore", "name": store}],
                "selector": {"secret": {"name": source}},
                "data": data.collect::<Vec<_>>(),
            },
        })
    }

    /// The store, with the static keys of the Secret that the reference's further fields say more about.
    fn aws(&self, further: &Value) -> Value {
        let reference = |key: &str| {
            let mut reference = json!({"name": AWS_KEYS_SECRET, "key": key});
            if let (Some(reference), Some(further)) = (reference.as_object_mut(), further.as_object()) {
                reference.extend(further.clone());
            }
            reference
        };
        json!({
            "service": "SecretsManager",
            "region": self.options.region,
            "auth": {"secretRef": {
                "accessKeyIDSecretRef": reference(KEY_ID),
                "secretAccessKeySecretRef": reference(KEY),
            }},
        })
    }

    fn in_no_namespace(&self, name: &str) -> Value {
        json!({"name": name, "labels": {(FOR_NAMESPACE): self.namespace.name()}})
    }
}

fn external_secret(kind: &str, store: &str, secret: &str, properties: &[&str]) -> Value {
    let data = properties
        .iter()
        .map(|property| json!({"secretKey": property, "remoteRef": {"key": secret, "property": property}}));
    json!({
        "refreshInterval": HOUR,
        "secretStoreRef": {"kind": kind, "name": store},
        "data": data.collect::<Vec<_>>(),
    })
}
