//! Exactly the rights it needs: what the audit log saw is what the manifests grant, no more and no less.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::scene::Scene;

/// A right: verb, resource with subresource, and the object's name where the grant binds it.
type Right = (String, String, Option<String>);

#[test]
fn the_rights_used_are_the_rights_granted() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::new(&lab, "rights", json!({})).await?;
        let app = scene.app("app", 1).await?;
        let set = scene.stage.namespace.clone();
        set.consumer(
            tandem_lab::ConsumerOptions::of(&scene.stage.postgres)
                .named("set")
                .kind(tandem_lab::Kind::StatefulSet)
                .replicas(1),
        )
        .await?;
        set.consumer(
            tandem_lab::ConsumerOptions::of(&scene.stage.postgres)
                .named("daemon")
                .kind(tandem_lab::Kind::DaemonSet),
        )
        .await?;
        let before = scene.credential().await?;
        scene.rotate().await?;
        scene.rotate().await?;
        scene.rotate().await?;
        scene.sound(&before, &[&app]).await?;
        scene
            .policies
            .delete(crate::scene::POLICY, &kube::api::DeleteParams::default())
            .await?;
        tandem_lab::eventually("the policy to be gone", crate::scene::LIMIT, async || {
            Ok(scene
                .policies
                .get_opt(crate::scene::POLICY)
                .await?
                .is_none()
                .then_some(()))
        })
        .await?;

        let requests = lab
            .audit()
            .service_account(scene.controller.namespace(), scene.controller.service_account())
            .read()?;
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
                let named = matches!(resource.as_str(), "secrets" | "configmaps" | "leases");
                (r.verb.clone(), resource, r.name.clone().filter(|_| named))
            })
            .filter(|(_, resource, _)| !resource.starts_with("selfsubject"))
            .collect();
        let granted = granted(&scene)?;
        // A patch that creates is authorised as `create` too, and logged as `patch`.
        let journal = Some(format!("{}-tandem", crate::scene::POLICY));
        let as_patch = ("create".to_owned(), "secrets".to_owned(), journal);
        let unused: Vec<_> = granted
            .difference(&used)
            .filter(|right| **right != as_patch)
            .collect();
        let unknown: Vec<_> = used.difference(&granted).collect();
        ensure!(
            unknown.is_empty(),
            "used without being granted by name: {unknown:?}"
        );
        ensure!(unused.is_empty(), "granted and never used: {unused:?}");
        Ok(())
    });
}

/// The rights in the manifests: those of every installation, and those of this policy.
fn granted(scene: &Scene) -> Result<BTreeSet<Right>> {
    let base = include_str!("../../deploy/base/rbac.yaml");
    let policy = tandem::manifest::rbac::rbac(&scene.policy_text(), &[], "x", "x")?;
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
