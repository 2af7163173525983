//! Other policies that would get in the way: two that change the same role, or write the same Secret, would undo each
//! other's work.

use kube::ResourceExt as _;

use crate::api::RotationPolicy;
use crate::machine::facts::Finding;
use crate::policy::Policy;

/// One blocking finding for each policy that shares a role of the same server, or the application Secret.
pub(super) fn findings<'a>(policy: &Policy, all: impl Iterator<Item = &'a RotationPolicy>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for other in all.filter(|other| other.uid().as_deref() != Some(&policy.uid)) {
        let (namespace, name) = (other.namespace().unwrap_or_default(), other.name_any());
        let spec = &other.spec;
        if namespace == policy.namespace
            && spec.delivery.secret.name == policy.delivery.target.secret.as_str()
        {
            findings.push(finding(format!(
                "policy {namespace}/{name} delivers to Secret {} as well; give each Secret one policy: kubectl -n {namespace} delete rotpol {name}",
                policy.delivery.target.secret
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

fn finding(message: String) -> Finding {
    Finding {
        blocks: true,
        reason: "SharedWithOtherPolicy",
        message,
    }
}
