//! Argo Rollouts.

use anyhow::{Context as _, Result, ensure};
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use serde_json::json;
use tandem_lab::{ConsumerOptions, Kind, eventually};

use crate::scene::{LIMIT, Scene, unharmed};

impl Scene {
    async fn rollout(&self, name: &str) -> Result<DynamicObject> {
        let kind = GroupVersionKind::gvk("argoproj.io", "v1alpha1", "Rollout");
        let resource = ApiResource::from_gvk(&kind);
        let api = Api::namespaced_with(self.policies.clone().into_client(), self.namespace(), &resource);
        Ok(api.get(name).await?)
    }
}

#[test]
fn case34_a_rollout_of_argo_is_restarted_in_the_middle_of_a_canary_too_and_its_template_stays() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::new(&lab, "argo", json!({})).await?;
        let namespace = &scene.stage.namespace;
        let _argo = namespace.argo_rollouts().await?;
        let usual = ConsumerOptions::of(&scene.stage.postgres);
        // The template of the second is that of a Deployment without pods.
        let borrowed = usual.clone().named("borrowed").replicas(0);
        let borrowed = namespace.consumer(borrowed).await?;
        let refers = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
            "metadata": {"name": "refers"},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"app": "borrowed"}},
                "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "borrowed"},
                "strategy": {"canary": {"maxSurge": 1, "maxUnavailable": 0}},
            },
        });
        namespace.apply(&refers.to_string()).await?;
        let canary = json!({"spec": {"strategy": {"canary": {"steps": [{"setWeight": 50}, {"pause": {}}]}}}});
        let shop = namespace
            .consumer(usual.named("shop").kind(Kind::Rollout).patch(canary))
            .await?;
        shop.restart().await?;
        let paused = eventually("the canary to pause", LIMIT, async || {
            let found = scene.rollout("shop").await?;
            let paused = found.data["status"]["phase"] == "Paused";
            let pods = shop.pods().await?;
            ensure!(
                paused && pods.len() == 2,
                "{} pods, {}",
                pods.len(),
                found.data["status"]
            );
            Ok(Some(found))
        })
        .await?;
        eventually("the pod of the second", LIMIT, async || {
            Ok((borrowed.pods().await?.len() == 1 && borrowed.tally()?.attempts > 0).then_some(()))
        })
        .await?;
        let before = scene.credential().await?;
        scene.rotate().await?;
        scene.sound(&before, &[&shop, &borrowed]).await?;

        for name in ["shop", "refers"] {
            let now = eventually(
                format!("{name} to say that it has restarted"),
                LIMIT,
                async || {
                    let now = scene.rollout(name).await?;
                    let (asked, done) = (&now.data["spec"]["restartAt"], &now.data["status"]["restartedAt"]);
                    ensure!(!asked.is_null() && asked == done, "asked {asked}, done {done}");
                    Ok(Some(now))
                },
            )
            .await?;
            let template = &now.data["spec"]["template"];
            ensure!(
                *template == scene.rollout(name).await?.data["spec"]["template"],
                "{template}"
            );
        }
        let now = scene.rollout("shop").await?;
        ensure!(
            now.data["spec"]["template"] == paused.data["spec"]["template"],
            "the template was changed: {}",
            now.data["spec"]["template"]
        );
        ensure!(
            now.data["status"]["phase"] == "Paused",
            "the canary went on: {}",
            now.data["status"]
        );
        ensure!(
            scene.revision("borrowed").await? == 1,
            "the Deployment was restarted"
        );
        let (controller, account) = (scene.controller.namespace(), scene.controller.service_account());
        let requests = lab.audit().service_account(controller, account).read()?;
        let refused: Vec<_> = requests.iter().filter(|request| request.code == 403).collect();
        ensure!(refused.is_empty(), "{refused:?}");
        let mut restarted: Vec<_> = requests
            .iter()
            .filter(|request| request.verb == "patch" && request.resource == "rollouts")
            .map(|request| request.name.as_deref().context("a patch of nothing"))
            .collect::<Result<_>>()?;
        restarted.sort_unstable();
        ensure!(restarted == ["refers", "shop"], "{restarted:?}");
        let elsewhere = requests
            .iter()
            .filter(|request| request.verb == "patch" && request.resource == "deployments");
        ensure!(elsewhere.count() == 0, "a Deployment was written to");
        unharmed(&shop.tally()?)
    });
}
