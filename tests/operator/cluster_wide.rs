//! `ClusterExternalSecret` and `ClusterSecretStore`: objects in no namespace, and rights for each by its name.

use anyhow::{Context as _, Result};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use serde_json::json;
use tandem::machine::facts::OperatorSeen;
use tandem_lab::{EsoOptions, Lab, eventually, run};

use crate::scene::{NAME, NEW, SOON, Scene, tandem};

/// An `ExternalSecret` that a `ClusterExternalSecret` made, through a `ClusterSecretStore` with a prefix; both have
/// the name of the namespace.
async fn scene(lab: &Lab) -> Result<Scene> {
    let options = |aws: &_| EsoOptions::of(aws).with_cluster_external_secrets();
    let mut scene = Scene::with(lab, options, &[]).await?;
    let name = scene.namespace.name().to_owned();
    let objects = [
        scene.eso.cluster_secret_store(&name, "orders/"),
        scene
            .eso
            .cluster_external_secret(NAME, &name, "db", &["username", "password"]),
    ];
    scene.eso.apply(&objects).await?;
    scene.until(NAME, |data| data.contains_key("password")).await?;
    scene.settled(NAME).await?;
    let policy = json!({
        "apiVersion": "tandem.dev/v1alpha1", "kind": "RotationPolicy",
        "metadata": {"name": "app", "namespace": name}, "spec": scene.policy.snapshot,
    });
    let rights = [
        format!("clustersecretstores/{name}"),
        format!("clusterexternalsecrets/{name}"),
    ];
    scene.cluster = tandem(&scene.namespace, &policy, &rights.each_ref().map(String::as_str)).await?;
    Ok(scene)
}

#[test]
fn case_14_seen_62_the_cluster_external_secret_is_asked_and_passes_it_on() {
    run(|lab: Lab| async move {
        let scene = scene(&lab).await?;
        let name = scene.namespace.name();
        assert_eq!(scene.findings().await?, []);
        let guard = scene.guard().await?;
        assert!(
            guard.starts_with(&format!("v1/clusterexternalsecrets/{name}/")),
            "{guard}"
        );
        scene.flip()?;
        scene.request(1).await?;
        scene.until_carried().await?;
        eventually("the request to be answered", SOON, async || {
            let OperatorSeen::Present {
                asked: Some(asked),
                trouble,
                ..
            } = scene.operator().await?
            else {
                anyhow::bail!("it was not asked");
            };
            Ok((asked.times == 1 && trouble.is_none()).then_some(()))
        })
        .await?;
        // The child was never written by us.
        let child = scene.objects("ExternalSecret").get(NAME).await?;
        let managers = child.metadata.managed_fields.context("managers")?;
        assert!(
            managers
                .iter()
                .all(|entry| entry.manager.as_deref() != Some("tandem")),
            "{managers:?}"
        );
        Ok(())
    });
}

#[test]
fn seen_63_what_somebody_asks_of_the_child_shows_in_the_data_alone() {
    run(|lab: Lab| async move {
        let scene = scene(&lab).await?;
        scene.flip()?;
        scene.eso.annotate(NAME, "1").await?;
        scene.until_carried().await?;
        let OperatorSeen::Present { asked: None, .. } = scene.operator().await? else {
            anyhow::bail!("nobody asked in this rotation's name");
        };
        assert_eq!(scene.namespace.read_secret(NAME).await?["password"], NEW);
        Ok(())
    });
}

#[test]
fn seen_71_each_right_to_an_object_in_no_namespace_is_named_with_what_grants_it() {
    run(|lab: Lab| async move {
        let scene = scene(&lab).await?;
        let name = scene.namespace.name();
        let bindings = |kind: &str| {
            lab.kubectl(&["delete", "clusterrolebinding", &format!("tandem:{kind}:{name}")])
                .map(drop)
        };
        bindings("clustersecretstores")?;
        let denied = eventually("the refusal", SOON, async || {
            Ok(scene.findings().await?.into_iter().next())
        });
        let denied = denied.await?;
        assert_eq!(denied.reason, "AccessDenied");
        assert!(
            denied
                .message
                .contains(&format!("--cluster-object clustersecretstores/{name}")),
            "{}",
            denied.message
        );

        bindings("clusterexternalsecrets")?;
        let refused = eventually("the refusal", SOON, async || match scene.operator().await? {
            OperatorSeen::Unusable(finding) => Ok(Some(finding)),
            OperatorSeen::Present { .. } => Ok(None),
        });
        let refused = refused.await?;
        assert!(
            refused
                .message
                .contains(&format!("--cluster-object clusterexternalsecrets/{name}")),
            "{}",
            refused.message
        );
        Ok(())
    });
}

#[test]
fn what_is_wrong_with_a_child_is_mended_on_its_owner() {
    run(|lab: Lab| async move {
        let scene = scene(&lab).await?;
        let name = scene.namespace.name();
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(
            "external-secrets.io",
            "v1",
            "ClusterExternalSecret",
        ));
        let owners: Api<DynamicObject> = Api::all_with(lab.admin(), &kind);
        let change = json!({"spec": {"externalSecretSpec": {"refreshPolicy": "CreatedOnce"}}});
        owners
            .patch(
                name,
                &kube::api::PatchParams::default(),
                &kube::api::Patch::Merge(change),
            )
            .await?;
        scene
            .until_found(&scene.policy, &[("ExternalSecretCreatedOnce", true)])
            .await?;
        let found = scene.findings().await?;
        let (_, command) = found[0].message.split_once("kubectl ").context("a command")?;
        let arguments: Vec<String> = command.split(' ').map(|word| word.replace('\'', "")).collect();
        lab.kubectl(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
        scene.until_found(&scene.policy, &[]).await
    });
}
