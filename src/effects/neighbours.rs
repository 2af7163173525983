//! Other policies that would get in the way: two that change the same role, or write the same Secret, would undo each
//! other's work.

use kube::ResourceExt as _;

use crate::api::RotationPolicy;
use crate::api::spec::DeliverySpec;
use crate::machine::facts::Finding;
use crate::policy::{Policy, Route};

/// One blocking finding for each policy that shares a role of the same server, the application Secret or what it is
/// made from.
pub(super) fn findings<'a>(policy: &Policy, all: impl Iterator<Item = &'a RotationPolicy>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for other in all.filter(|other| other.uid().as_deref() != Some(&policy.uid)) {
        let (namespace, name) = (other.namespace().unwrap_or_default(), other.name_any());
        let spec = &other.spec;
        let delivers = shared_delivery(policy, &namespace, &spec.delivery);
        if let Some(what) = delivers {
            findings.push(finding(format!(
                "policy {namespace}/{name} delivers to {what} as well; give each its own policy: kubectl -n {namespace} delete rotpol {name}"
            )));
        }
        let same_server =
            spec.database.host == policy.database.host && spec.database.port == policy.database.port;
        let shared = spec
            .users
            .iter()
            .find(|user| *user == policy.pair.0.as_str() || *user == policy.pair.1.as_str());
        if let (true, Some(user)) = (same_server, shared) {
            findings.push(finding(format!(
                "policy {namespace}/{name} rotates user {user} of {}:{} as well; give each user one policy: kubectl -n {namespace} delete rotpol {name}",
                policy.database.host, policy.database.port
            )));
        }
    }
    findings
}

/// What both policies deliver to: a secret of the store, which has no namespace, or an object of one namespace.
fn shared_delivery(policy: &Policy, namespace: &str, other: &DeliverySpec) -> Option<String> {
    let (secret, external) = match (&other.secret, &other.external_secret) {
        (Some(direct), _) => (&direct.name, None),
        (None, Some(external)) => (
            external.secret_name.as_ref().unwrap_or(&external.name),
            Some(external),
        ),
        (None, None) => return None,
    };
    let here = namespace == policy.namespace;
    if let (
        Route::StoreFirst {
            external_secret,
            source,
        },
        Some(external),
    ) = (&policy.delivery.route, external)
    {
        let stored = &external.aws_secrets_manager;
        if stored.secret_id == source.id && stored.region == source.region {
            return Some(format!("secret {} in region {}", source.id, source.region));
        }
        if here && external.name == *external_secret {
            return Some(format!("ExternalSecret {external_secret}"));
        }
    }
    (here && secret == policy.delivery.target.secret.as_str())
        .then(|| format!("Secret {}", policy.delivery.target.secret))
}

fn finding(message: String) -> Finding {
    Finding {
        blocks: true,
        reason: "SharedWithOtherPolicy",
        message,
    }
}
