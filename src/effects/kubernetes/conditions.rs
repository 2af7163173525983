//! What stands in the way of delivering to the application Secret.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

use super::Cluster;
use super::secret::{AppSecret, rendered, text};
use crate::api::FIELD_MANAGER;
use crate::machine::facts::Finding;
use crate::policy::Policy;
use crate::sensitive::Sensitive;

/// The API server takes no more data, all values together.
const MAX_DATA: usize = 1024 * 1024;
/// No password is made longer.
const LONGEST_PASSWORD: usize = 99;
/// Marks a Secret that External Secrets Operator writes.
const ESO_LABEL: &str = "reconcile.external-secrets.io/managed";
/// Field managers, by the start of their names, that put back what they once wrote.
const RECONCILERS: [&str; 7] = [
    "externalsecrets.external-secrets.io/",
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

struct About<'a> {
    policy: &'a Policy,
    namespace: &'a str,
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

    fn object(&self, live: &Secret) -> Vec<Finding> {
        let (namespace, secret) = (self.namespace, &self.policy.delivery.target.secret);
        let mut findings = Vec::new();
        if live.metadata.deletion_timestamp.is_some() {
            findings.push(blocker(
                "SecretDeleting",
                format!("Secret {namespace}/{secret} is being deleted; see what holds it: kubectl -n {namespace} get secret {secret} -o jsonpath='{{.metadata.finalizers}}'"),
            ));
        }
        if live.immutable == Some(true) {
            findings.push(blocker(
                "SecretImmutable",
                format!("Secret {namespace}/{secret} is immutable and can only be made anew: kubectl -n {namespace} get secret {secret} -o yaml | sed '/^immutable:/d' | kubectl replace --force -f -"),
            ));
        }
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

    /// Who else writes what Tandem would write.
    fn writers(&self, live: &Secret) -> Vec<Finding> {
        let (namespace, secret) = (self.namespace, &self.policy.delivery.target.secret);
        let see = format!("kubectl -n {namespace} get secret {secret} --show-managed-fields -o yaml");
        if let Some(owner) = live
            .metadata
            .owner_references
            .iter()
            .flatten()
            .find(|o| o.controller == Some(true))
        {
            return vec![blocker(
                "SecretOwnedByController",
                format!(
                    "Secret {namespace}/{secret} is written by {} {}, which would put the old credential back; name another Secret in spec.delivery.secret.name, or give that one up first. See: {see}",
                    owner.kind, owner.name
                ),
            )];
        }
        if live
            .metadata
            .labels
            .as_ref()
            .and_then(|l| l.get(ESO_LABEL))
            .is_some_and(|value| value == "true")
        {
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
            if keys.is_empty() || manager == FIELD_MANAGER {
                continue;
            }
            let keys = keys.join(", ");
            if RECONCILERS.iter().any(|known| manager.starts_with(known)) {
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
        let templates = self.policy.delivery.templates.iter().map(|(key, _)| key.as_str());
        let owns = |key: &str| {
            let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
            fields.is_some_and(|fields| {
                ["f:data", "f:stringData"]
                    .iter()
                    .any(|part| fields.get(part).and_then(|p| p.get(format!("f:{key}"))).is_some())
            })
        };
        let ours = [target.username_key.as_str(), target.password_key.as_str()];
        ours.into_iter()
            .chain(templates)
            .filter(|key| owns(key))
            .collect()
    }
}

fn blocker(reason: &'static str, message: String) -> Finding {
    Finding {
        blocks: true,
        reason,
        message,
    }
}

fn warning(reason: &'static str, message: String) -> Finding {
    Finding {
        blocks: false,
        reason,
        message,
    }
}
