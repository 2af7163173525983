//! What Reloader writes on a pod template, and how it is recognised.

use std::fmt::Write as _;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PodSpec, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};
use sha1::{Digest as _, Sha1};

/// Annotation of the pod template in the annotations strategy. No flag renames it.
pub(super) const LAST_RELOADED_FROM: &str = "reloader.stakater.com/last-reloaded-from";

/// The same, as the API server keeps who wrote it.
const FIELD: &str = "/f:spec/f:template/f:metadata/f:annotations/f:reloader.stakater.com~1last-reloaded-from";

/// A restart for one content of one Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Marker {
    name: String,
    namespace: String,
    /// SHA-1 over all data of the Secret.
    hash: String,
}

/// The annotation's value, its keys in Reloader's order.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Source<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    name: &'a str,
    namespace: &'a str,
    hash: &'a str,
    container_refs: Vec<&'a str>,
    observed_at: i64,
}

impl Marker {
    /// The mark for what the Secret carries now.
    pub(super) fn of(secret: &Secret) -> Self {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        Self {
            name: text(&secret.metadata.name),
            namespace: text(&secret.metadata.namespace),
            hash: hash(secret),
        }
    }

    /// Whether the template, or a pod made from it, carries it, in whichever strategy.
    pub(super) fn is_on(&self, metadata: Option<&ObjectMeta>, spec: Option<&PodSpec>) -> bool {
        let annotation = metadata
            .and_then(|metadata| metadata.annotations.as_ref())
            .and_then(|all| all.get(LAST_RELOADED_FROM))
            .is_some_and(|text| self.is_source(text));
        let variable = self.variable();
        let containers = spec.into_iter().flat_map(|spec| &spec.containers);
        annotation
            || containers
                .flat_map(|container| container.env.iter().flatten())
                .any(|env| env.name == variable && env.value.as_deref() == Some(&self.hash))
    }

    /// Whether the mark of another object was written over this one, later than that time. The annotations strategy has
    /// room for one mark only, which says nothing about this Secret; but a template that was written later makes only
    /// pods that have loaded what was there by then. Reloader says when, by its own clock, and the API server must say so
    /// too: what it knows is when Reloader wrote last, whatever it wrote.
    pub(super) fn is_overwritten(
        &self,
        workload: &ObjectMeta,
        template: &ObjectMeta,
        since: Timestamp,
    ) -> bool {
        let annotations = template.annotations.as_ref();
        let Some(text) = annotations.and_then(|all| all.get(LAST_RELOADED_FROM)) else {
            return false;
        };
        let later = serde_json::from_str::<Source<'_>>(text)
            .is_ok_and(|source| source.observed_at >= since.as_second());
        let writers = workload.managed_fields.iter().flatten();
        later
            && !self.is_source(text)
            && writers
                .filter(|entry| {
                    entry
                        .fields_v1
                        .as_ref()
                        .is_some_and(|f| f.0.pointer(FIELD).is_some())
                })
                .any(|entry| entry.time.as_ref().is_some_and(|time| time.0 > since))
    }

    /// Name of the environment variable in the env-vars strategy. Names that differ only in their punctuation share one.
    pub(super) fn variable(&self) -> String {
        let words: Vec<_> = self
            .name
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_ascii_uppercase)
            .collect();
        format!("STAKATER_{}_SECRET", words.join("_"))
    }

    /// Value of that variable.
    pub(super) fn hash(&self) -> &str {
        &self.hash
    }

    /// The annotation's value, as Reloader would write it now.
    pub(super) fn source(&self, container: &str, now: Timestamp) -> Result<String, serde_json::Error> {
        serde_json::to_string(&Source {
            kind: "SECRET",
            name: &self.name,
            namespace: &self.namespace,
            hash: &self.hash,
            container_refs: vec![container],
            observed_at: now.as_second(),
        })
    }

    fn is_source(&self, text: &str) -> bool {
        serde_json::from_str::<Source<'_>>(text).is_ok_and(|source| {
            source.kind == "SECRET" && source.name == self.name && source.hash == self.hash
        })
    }
}

/// Over `key=value`, sorted as text and joined with `;`: two contents that join to the same text are one to Reloader.
fn hash(secret: &Secret) -> String {
    let mut pairs: Vec<Vec<u8>> = secret
        .data
        .iter()
        .flatten()
        .map(|(key, value)| [key.as_bytes(), b"=", &value.0].concat())
        .collect();
    pairs.sort_unstable();
    Sha1::digest(pairs.join(&b';'))
        .iter()
        .fold(String::new(), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{LAST_RELOADED_FROM, Marker};
    use crate::effects::kubernetes::fixtures::{at, object};

    /// What a workload says that Reloader has restarted for this Secret then, and that the API server took it at.
    fn overwritten(name: &str, observed: i64, written: i64, field: &str) -> bool {
        let marker = Marker::of(&object(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db", "namespace": "shop"},
        })));
        let mark = json!({
            "type": "SECRET", "name": name, "namespace": "shop", "hash": marker.hash(),
            "containerRefs": ["main"], "observedAt": at(observed).as_second(),
        });
        let fields: Value = json!({"f:spec": {"f:template": {"f:metadata": {"f:annotations": {field: {}}}}}});
        let workload = object(json!({"managedFields": [
            {"manager": "Reloader", "operation": "Update", "time": at(written).to_string(), "fieldsV1": fields},
        ]}));
        let template = object(json!({"annotations": {LAST_RELOADED_FROM: mark.to_string()}}));
        marker.is_overwritten(&workload, &template, at(0))
    }

    #[test]
    fn a_mark_for_another_secret_that_came_later_is_a_restart_all_the_same() {
        let field = format!("f:{LAST_RELOADED_FROM}");
        assert!(overwritten("other", 0, 1, &field));
        assert!(!overwritten("db", 1, 1, &field), "that is its own");
        assert!(!overwritten("other", 0, 0, &field), "perhaps it came before");
        assert!(
            !overwritten("other", -1, 1, &field),
            "only something else was written later"
        );
        assert!(
            !overwritten("other", 1, 1, "f:checksum/config"),
            "and not by this one"
        );
    }
}
