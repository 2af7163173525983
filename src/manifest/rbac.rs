//! The Role that one policy needs, and nothing besides: each Secret by its name, nothing ever listed or watched but
//! pods and workloads.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};
use kube::api::ObjectMeta;

use super::yaml;
use crate::api::spec::{CaKind, RestartMode};
use crate::api::{RotationPolicy, journal_name};
use crate::policy::{Admin, Policy, Tls};

/// Role and binding for the policies in a YAML stream, as YAML.
///
/// # Errors
/// When the text holds no policy, or one that means nothing.
pub fn rbac(policies: &str, account_namespace: &str, account: &str) -> anyhow::Result<String> {
    let objects: Vec<RotationPolicy> = serde_saphyr::from_multiple(policies)
        .context("failed to read the policies: every document must be a RotationPolicy")?;
    anyhow::ensure!(!objects.is_empty(), "there is no RotationPolicy in it");
    let mut documents = Vec::new();
    for object in &objects {
        let policy = Policy::parse(object).with_context(|| format!("policy {:?}", object.metadata.name))?;
        documents.push(yaml(&role(&policy))?);
        documents.push(yaml(&binding(&policy, account_namespace, account))?);
    }
    Ok(documents.join("---\n"))
}

/// The Role.
#[must_use]
pub fn role(policy: &Policy) -> Role {
    // Verbs by Secret: one Secret may serve as two things, and is then named once, with the verbs of both.
    let mut secrets: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let journal = journal_name(&policy.name);
    // `create` can be bound to a name because the journal is made by a patch, which carries it.
    secrets
        .entry(&journal)
        .or_default()
        .extend(["get", "create", "patch", "update"]);
    let application = secrets.entry(policy.delivery.target.secret.as_str()).or_default();
    application.insert("get");
    if policy.delivery.source().is_none() {
        application.insert("patch");
    }
    if let Admin::Secret(keys) = &policy.database.admin {
        secrets.entry(keys.secret.as_str()).or_default().insert("get");
    }
    let mut rules = Vec::new();
    if let Tls::VerifyFull(Some(ca)) = &policy.database.tls {
        match ca.kind {
            CaKind::Secret => {
                secrets.entry(&ca.name).or_default().insert("get");
            }
            CaKind::ConfigMap => rules.push(named("", "configmaps", &ca.name, &["get"])),
        }
    }
    for (name, verbs) in secrets {
        rules.push(named("", "secrets", name, &verbs.into_iter().collect::<Vec<_>>()));
    }
    rules.push(any("", &["pods"], &["list"]));
    let workloads = ["deployments", "statefulsets", "daemonsets"];
    match policy.restart.mode {
        RestartMode::Auto | RestartMode::Controller => {
            rules.push(any("apps", &workloads, &["list", "patch"]));
        }
        RestartMode::None => rules.push(any("apps", &workloads, &["list"])),
    }
    rules.push(any("events.k8s.io", &["events"], &["create"]));
    Role {
        metadata: metadata(policy),
        rules: Some(rules),
    }
}

fn binding(policy: &Policy, account_namespace: &str, account: &str) -> RoleBinding {
    RoleBinding {
        metadata: metadata(policy),
        role_ref: RoleRef {
            api_group: Some("rbac.authorization.k8s.io".into()),
            kind: "Role".into(),
            name: journal_name(&policy.name),
        },
        subjects: Some(vec![Subject {
            kind: "ServiceAccount".into(),
            name: account.into(),
            namespace: Some(account_namespace.into()),
            api_group: None,
        }]),
    }
}

fn metadata(policy: &Policy) -> ObjectMeta {
    ObjectMeta {
        name: Some(journal_name(&policy.name)),
        namespace: Some(policy.namespace.clone()).filter(|namespace| !namespace.is_empty()),
        ..ObjectMeta::default()
    }
}

fn named(group: &str, resource: &str, name: &str, verbs: &[&str]) -> PolicyRule {
    PolicyRule {
        resource_names: Some(vec![name.to_owned()]),
        ..any(group, &[resource], verbs)
    }
}

fn any(group: &str, resources: &[&str], verbs: &[&str]) -> PolicyRule {
    let owned = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    PolicyRule {
        api_groups: Some(owned(&[group])),
        resources: Some(owned(resources)),
        verbs: owned(verbs),
        ..PolicyRule::default()
    }
}
