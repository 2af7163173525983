//! What stands in the way of delivering to the application Secret.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

use super::Cluster;
use super::secret::{AppSecret, rendered, text};
use crate::api::FIELD_MANAGER;
use crate::machine::facts::Finding;
use crate::policy::{Policy, Route};
use crate::sensitive::Sensitive;

/// The API server takes no more data, all values together.
const MAX_DATA: usize = 1024 * 1024;
/// No password is made longer.
const LONGEST_PASSWORD: usize = 99;
/// Marks a Secret that External Secrets Operator writes.
pub(super) const ESO_LABEL: &str = "reconcile.external-secrets.io/managed";
/// Field manager of External Secrets Operator, before the name of the `ExternalSecret`.
pub(super) const ESO_MANAGER: &str = "externalsecrets.external-secrets.io/";
/// Field managers, by the start of their names, that put back what they once wrote.
const RECONCILERS: [&str; 7] = [
    ESO_MANAGER,
    "argocd",
    "kustomize-controller",
    "helm-controller",
    "configsync",
    "kapp-controller",
    "vault-secrets-operator",
];

impl Cluster {
    /// What is wrong with the application Secret, the blockers first.
    #[must_use]
    pub fn delivery_findings(&self, policy: &Policy, app: Option<&AppSecret>) -> Vec<Finding> {
        let about = About {
            policy,
            namespace: &self.namespace,
        };
        let mut findings = match app {
            None => vec![about.missing()],
            Some(app) => [
                about.object(&app.live),
                about.credential(app),
                about.writers(&app.live),
            ]
            .concat(),
        };
        findings.sort_by_key(|finding| !finding.blocks);
        findings
    }
}

/// The application Secret of a policy, whoever delivers to it.
pub(super) struct About<'a> {
    pub(super) policy: &'a Policy,
    pub(super) namespace: &'a str,
}

impl About<'_> {
    fn missing(&self) -> Finding {
        let target = &self.policy.delivery.target;
        let (namespace, secret) = (self.namespace, &target.secret);
        blocker(
            "SecretMissing",
            format!(
                "Secret {namespace}/{secret} does not exist; it must name the user that the applications use now. Make it with: printf %s \"$PASSWORD\" | kubectl -n {namespace} create secret generic {secret} --from-literal={}={} --from-file={}=/dev/stdin",
                target.username_key, self.policy.pair.0, target.password_key
            ),
        )
    }

    pub(super) fn going(&self, live: &Secret) -> Option<Finding> {
        let (namespace, secret) = (self.namespace, &self.policy.delivery.target.secret);
        live.metadata.deletion_timestamp.as_ref()?;
        Some(blocker(
            "SecretDeleting",
            format!(
                "Secret {namespace}/{secret} is being deleted; see what holds it: kubectl -n {namespace} get secret {secret} -o jsonpath='{{.metadata.finalizers}}'"
            ),
        ))
    }

    pub(super) fn immutable(&self, live: &Secret) -> Option<Finding> {
        let (namespace, secret) = (self.namespace, &self.policy.delivery.target.secret);
        (live.immutable == Some(true)).then(|| blocker(
            "SecretImmutable",
            format!("Secret {namespace}/{secret} is immutable and can only be made anew: kubectl -n {namespace} get secret {secret} -o yaml | sed '/^immutable:/d' | kubectl replace --force -f -"),
        ))
    }

    fn object(&self, live: &Secret) -> Vec<Finding> {
        let (namespace, secret) = (self.namespace, &self.policy.delivery.target.secret);
        let mut findings: Vec<_> = self.going(live).into_iter().chain(self.immutable(live)).collect();
        if live.type_.as_deref() == Some("kubernetes.io/service-account-token") {
            findings.push(blocker(
                "SecretTypeUnusable",
                format!("Secret {namespace}/{secret} is the token of a ServiceAccount and written by Kubernetes itself; name another Secret in spec.delivery.secret.name"),
            ));
        }
        let size = self.size_after(live);
        if size > MAX_DATA {
            findings.push(blocker(
                "SecretTooLarge",
                format!("Secret {namespace}/{secret} would hold {size} bytes after a rotation, and {MAX_DATA} is the limit; move other keys elsewhere, or shorten spec.delivery.secret.templates"),
            ));
        }
        findings
    }

    /// With the longest credential that can come.
    fn size_after(&self, live: &Secret) -> usize {
        let pair = &self.policy.pair;
        let user = if pair.0.as_str().len() > pair.1.as_str().len() {
            &pair.0
        } else {
            &pair.1
        };
        let ours = rendered(self.policy, user, &Sensitive::new("x".repeat(LONGEST_PASSWORD)));
        let others = live
            .data
            .iter()
            .flatten()
            .filter(|(key, _)| !ours.contains_key(key.as_str()));
        others.map(|(_, value)| value.0.len()).sum::<usize>()
            + ours.values().map(|value| value.expose().len()).sum::<usize>()
    }

    fn credential(&self, app: &AppSecret) -> Vec<Finding> {
        let target = &self.policy.delivery.target;
        let pair = &self.policy.pair;
        let (namespace, secret) = (self.namespace, &target.secret);
        let mut findings = Vec::new();
        let put = |key: &str, value: &str| {
            format!(
                "kubectl -n {namespace} patch secret {secret} --type=merge -p '{{\"stringData\":{{\"{key}\":\"{value}\"}}}}'"
            )
        };
        let key = &target.username_key;
        match (&app.user, text(&app.live, key)) {
            (Some(user), _) if pair.contains(user) => {}
            (_, Some(user)) => findings.push(blocker(
                "SecretNamesStranger",
                format!("Secret {namespace}/{secret} names the user {user:?}, which is none of {} and {}. Put the right one there: {}", pair.0, pair.1, put(key, pair.0.as_str())),
            )),
            (_, None) => findings.push(blocker(
                "SecretKeyMissing",
                format!("Secret {namespace}/{secret} has no text under the key {key:?}. Put the user name that the applications use now there: {}", put(key, pair.0.as_str())),
            )),
        }
        let key = &target.password_key;
        match app.password.as_ref().map(Sensitive::expose) {
            None => findings.push(blocker(
                "SecretKeyMissing",
                format!("Secret {namespace}/{secret} has no text under the key {key:?}. Put the password that the applications use now there: {}", put(key, "…")),
            )),
            Some("") => findings.push(blocker(
                "SecretPasswordEmpty",
                format!("Secret {namespace}/{secret} has an empty password under the key {key:?}. Put the one that the applications use now there: {}", put(key, "…")),
            )),
            Some(password) if password.ends_with(['\n', '\r']) => findings.push(warning(
                "SecretPasswordUnusual",
                format!("the password in Secret {namespace}/{secret} ends with a line break, which was hardly meant; if applications cut it off and Tandem's login fails, put it there without one: {}", put(key, "…")),
            )),
            Some(password) if !password.chars().all(|c| c.is_ascii() && !c.is_ascii_control()) || password.len() > LONGEST_PASSWORD => {
                findings.push(warning(
                    "SecretPasswordUnusual",
                    format!("the password in Secret {namespace}/{secret} has characters or a length that some drivers do not take; the first rotation replaces it by a plain one"),
                ));
            }
            Some(_) => {}
        }
        findings
    }

    /// Who else writes what Tandem, or the operator that it asks, would write.
    pub(super) fn writers(&self, live: &Secret) -> Vec<Finding> {
        let (namespace, secret) = (self.namespace, &self.policy.delivery.target.secret);
        let (operator, field) = match &self.policy.delivery.route {
            Route::Direct { .. } => (None, "spec.delivery.secret.name"),
            Route::StoreFirst { external_secret, .. } => {
                (Some(external_secret), "spec.delivery.externalSecret.secretName")
            }
        };
        let see = format!("kubectl -n {namespace} get secret {secret} --show-managed-fields -o yaml");
        if let Some(owner) = live
            .metadata
            .owner_references
            .iter()
            .flatten()
            .find(|o| o.controller == Some(true))
            .filter(|o| o.kind != "ExternalSecret" || Some(&o.name) != operator)
        {
            return vec![blocker(
                "SecretOwnedByController",
                format!(
                    "Secret {namespace}/{secret} is written by {} {}, which would put the old credential back; name another Secret in {field}, or give that one up first. See: {see}",
                    owner.kind, owner.name
                ),
            )];
        }
        if operator.is_none() && is_marked(live) {
            return vec![blocker(
                "SecretOwnedByController",
                format!(
                    "Secret {namespace}/{secret} is written by External Secrets Operator, which would put the old credential back. Once no ExternalSecret names it any more: kubectl -n {namespace} label secret {secret} {ESO_LABEL}-"
                ),
            )];
        }
        let mut findings = Vec::new();
        for entry in live.metadata.managed_fields.iter().flatten() {
            let manager = entry.manager.as_deref().unwrap_or_default();
            let keys = self.keys_of(entry);
            // Which ExternalSecrets write the Secret now, they say themselves; here stand former ones too.
            let asked = operator.is_some() && manager.starts_with(ESO_MANAGER);
            if keys.is_empty() || manager == FIELD_MANAGER || asked {
                continue;
            }
            let keys = keys.join(", ");
            if reconciles(manager) {
                findings.push(blocker(
                    "SecretOwnedByController",
                    format!("{manager} writes {keys} of Secret {namespace}/{secret} and would put the old credential back. Make it leave these keys alone (Argo CD: ignoreDifferences with RespectIgnoreDifferences=true; Flux: annotation kustomize.toolkit.fluxcd.io/ssa=IfNotPresent), then clear the record of ownership: kubectl -n {namespace} patch secret {secret} --type=merge -p '{{\"metadata\":{{\"managedFields\":[{{}}]}}}}'"),
                ));
            } else if manager == "helm"
                || (entry.operation.as_deref() == Some("Apply") && manager != "kubectl")
            {
                findings.push(warning(
                    "SecretAlsoWrittenBy",
                    format!("{manager} has written {keys} of Secret {namespace}/{secret}; were it to do so again after a rotation, applications would get a password that no longer works. Take these keys out of what it writes. See: {see}"),
                ));
            }
        }
        findings
    }

    /// Those of our keys that this manager owns.
    fn keys_of(&self, entry: &ManagedFieldsEntry) -> Vec<&str> {
        let target = &self.policy.delivery.target;
        let templates = self
            .policy
            .delivery
            .templates()
            .iter()
            .map(|(key, _)| key.as_str());
        let ours = [target.username_key.as_str(), target.password_key.as_str()];
        ours.into_iter()
            .chain(templates)
            .filter(|key| owns(entry, key))
            .collect()
    }
}

/// Whether a manager of a Secret owns this key of it.
pub(super) fn owns(entry: &ManagedFieldsEntry, key: &str) -> bool {
    let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
    fields.is_some_and(|fields| {
        ["f:data", "f:stringData"]
            .iter()
            .any(|part| fields.get(part).and_then(|p| p.get(format!("f:{key}"))).is_some())
    })
}

/// Whether a field manager puts back what it once wrote.
pub(super) fn reconciles(manager: &str) -> bool {
    RECONCILERS.iter().any(|known| manager.starts_with(known))
}

/// Whether External Secrets Operator notices what is done to the Secret.
pub(super) fn is_marked(live: &Secret) -> bool {
    let labels = live.metadata.labels.as_ref();
    labels
        .and_then(|labels| labels.get(ESO_LABEL))
        .is_some_and(|value| value == "true")
}

pub(super) fn blocker(reason: &'static str, message: String) -> Finding {
    Finding {
        blocks: true,
        reason,
        message,
    }
}

pub(super) fn warning(reason: &'static str, message: String) -> Finding {
    Finding {
        blocks: false,
        reason,
        message,
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Secret;
    use serde_json::{Value, json};

    use super::super::fixtures::{object, over, policy};
    use super::About;

    /// Reasons of what is found in a Secret like this, and whether they block.
    fn found(more: Value) -> Vec<(&'static str, bool)> {
        let policy = policy(&json!({}));
        let about = About {
            policy: &policy,
            namespace: "shop",
        };
        let live: Secret = object(over(json!({"metadata": {"name": "db"}}), more));
        let findings = [about.object(&live), about.writers(&live)].concat();
        assert!(
            findings.iter().all(|f| f.message.contains("Secret shop/db")),
            "{findings:?}"
        );
        findings.iter().map(|f| (f.reason, f.blocks)).collect()
    }

    fn managed(manager: &str, operation: &str, keys: &[&str]) -> Value {
        let keys: serde_json::Map<_, _> = keys.iter().map(|key| (format!("f:{key}"), json!({}))).collect();
        json!({"metadata": {"managedFields": [
            {"manager": manager, "operation": operation, "fieldsType": "FieldsV1", "fieldsV1": {"f:data": keys, "f:type": {}}},
        ]}})
    }

    #[test]
    fn fm31_a_secret_that_somebody_else_keeps_writing_is_refused() {
        let block = [("SecretOwnedByController", true)];
        let owner = |controller: bool| {
            json!({"metadata": {"ownerReferences": [
                {"apiVersion": "x/v1", "kind": "SealedSecret", "name": "db", "uid": "1", "controller": controller},
            ]}})
        };
        assert_eq!(found(owner(true)), block);
        assert_eq!(found(owner(false)), []);
        let label =
            |value: &str| json!({"metadata": {"labels": {"reconcile.external-secrets.io/managed": value}}});
        assert_eq!(found(label("true")), block);
        assert_eq!(found(label("false")), []);
        for manager in [
            "externalsecrets.external-secrets.io/db",
            "argocd-controller",
            "kustomize-controller",
        ] {
            for operation in ["Apply", "Update"] {
                // Any key of ours counts, rendered ones too.
                for key in ["username", "password", "URL"] {
                    assert_eq!(
                        found(managed(manager, operation, &[key])),
                        block,
                        "{manager} {operation} {key}"
                    );
                }
                assert_eq!(
                    found(managed(manager, operation, &["OTHER"])),
                    [],
                    "{manager} {operation}"
                );
            }
        }
    }

    #[test]
    fn who_may_write_again_is_warned_of_and_who_only_made_it_is_not() {
        let warn = [("SecretAlsoWrittenBy", false)];
        assert_eq!(found(managed("helm", "Update", &["password"])), warn);
        assert_eq!(found(managed("terraform", "Apply", &["password"])), warn);
        for (manager, operation) in [
            ("kubectl", "Apply"),
            ("kubectl-create", "Update"),
            ("kubectl-client-side-apply", "Update"),
            ("tandem", "Apply"),
        ] {
            assert_eq!(
                found(managed(manager, operation, &["username", "password", "URL"])),
                [],
                "{manager}"
            );
        }
    }

    #[test]
    fn fm31_a_secret_that_is_going_away_or_of_kubernetes_own_is_refused() {
        let going = json!({"metadata": {"deletionTimestamp": "2026-11-20T03:00:00Z"}});
        assert_eq!(found(going), [("SecretDeleting", true)]);
        let token = json!({"type": "kubernetes.io/service-account-token"});
        assert_eq!(found(token), [("SecretTypeUnusable", true)]);
        assert_eq!(
            found(json!({"type": "kubernetes.io/basic-auth", "immutable": false})),
            []
        );
    }

    #[test]
    fn fm31_the_size_is_that_of_the_longest_credential_and_of_foreign_keys() {
        let with = |bytes: usize| {
            let value = k8s_openapi::ByteString(vec![b'x'; bytes]);
            json!({"data": {"OTHER": value, "password": "b2xk"}})
        };
        // User name 5, password 99, and both once more in "postgresql://…:…@db".
        let ours = 5 + 99 + "postgresql://:@db".len() + 5 + 99;
        assert_eq!(found(with(1024 * 1024 - ours)), []);
        assert_eq!(found(with(1024 * 1024 - ours + 1)), [("SecretTooLarge", true)]);
    }
}
