//! What the audit log saw against what the manifests grant.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use kube::api::DeleteParams;
use tandem_lab::{ConsumerOptions, Kind, eventually};

use crate::scene::{LIMIT, POLICY, Scene};

/// A right: verb, resource with subresource, and the object's name where the grant binds it.
type Right = (String, String, Option<String>);

/// Kinds whose objects are granted by name, where one is named.
const NAMED: [&str; 4] = ["secrets", "configmaps", "leases", "externalsecrets"];

/// Everything that a policy is ever used for, from three rotations of consumers of each kind to its deletion.
pub(crate) async fn exercise(scene: &Scene) -> Result<()> {
    let app = scene.app("app", 1).await?;
    let options = ConsumerOptions::of(&scene.stage.postgres);
    for (name, kind) in [("set", Kind::StatefulSet), ("daemon", Kind::DaemonSet)] {
        let options = options.clone().named(name).kind(kind).replicas(1);
        scene.stage.namespace.consumer(options).await?;
    }
    let before = scene.credential().await?;
    for _ in 1..=3 {
        scene.rotate().await?;
    }
    scene.sound(&before, &[&app]).await?;
    scene.policies.delete(POLICY, &DeleteParams::default()).await?;
    eventually("the policy to be gone", LIMIT, async || {
        Ok(scene.policies.get_opt(POLICY).await?.is_none().then_some(()))
    })
    .await
}

/// All rights that were granted have been used, and no others asked for.
pub(crate) fn exactly(scene: &Scene, policy: &str) -> Result<()> {
    let (namespace, account) = (scene.controller.namespace(), scene.controller.service_account());
    let requests = scene.lab.audit().service_account(namespace, account).read()?;
    let refused: Vec<_> = requests.iter().filter(|r| r.code == 403).collect();
    ensure!(refused.is_empty(), "refused requests: {refused:?}");
    for request in &requests {
        let secret = request.resource == "secrets";
        ensure!(
            !(secret && matches!(request.verb.as_str(), "list" | "watch")),
            "Secrets are never listed: {request:?}"
        );
    }
    let used: BTreeSet<Right> = requests
        .iter()
        .map(|r| {
            let resource = r
                .subresource
                .as_ref()
                .map_or_else(|| r.resource.clone(), |s| format!("{}/{s}", r.resource));
            let named = NAMED.contains(&resource.as_str());
            (r.verb.clone(), resource, r.name.clone().filter(|_| named))
        })
        .filter(|(_, resource, _)| !resource.starts_with("selfsubject"))
        .collect();
    let granted = granted(policy)?;
    // A patch that creates is authorised as `create` too, and logged as `patch`.
    let journal = Some(format!("{POLICY}-tandem"));
    let as_patch = ("create".to_owned(), "secrets".to_owned(), journal);
    // tests/rollouts has Rollouts, and sees that this right is enough for them.
    let for_rollouts = ("patch".to_owned(), "rollouts".to_owned(), None);
    let unused: Vec<_> = granted
        .difference(&used)
        .filter(|right| **right != as_patch && **right != for_rollouts)
        .collect();
    let unknown: Vec<_> = used.difference(&granted).collect();
    ensure!(
        unknown.is_empty(),
        "used without being granted by name: {unknown:?}"
    );
    ensure!(unused.is_empty(), "granted and never used: {unused:?}");
    Ok(())
}

/// The rights in the manifests: those of every installation, and those of this policy.
fn granted(policy: &str) -> Result<BTreeSet<Right>> {
    let base = include_str!("../../deploy/base/rbac.yaml");
    let policy = tandem::manifest::rbac::rbac(policy, &[], &[], "x", "x")?;
    let mut rights = BTreeSet::new();
    for text in [base, &policy] {
        for document in serde_saphyr::from_multiple::<serde_json::Value>(text)? {
            for rule in document["rules"].as_array().into_iter().flatten() {
                let list = |key: &str| -> Vec<String> {
                    rule[key]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .filter_map(|v| v.as_str().map(str::to_owned))
                        .collect()
                };
                let names = list("resourceNames");
                let names: Vec<_> = if names.is_empty() {
                    vec![None]
                } else {
                    names.into_iter().map(Some).collect()
                };
                for verb in list("verbs") {
                    for resource in list("resources") {
                        for name in &names {
                            rights.insert((verb.clone(), resource.clone(), name.clone()));
                        }
                    }
                }
            }
        }
    }
    Ok(rights)
}
