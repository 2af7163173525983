//! Rollouts that cannot go on, and go on by themselves when they are mended.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};
use tandem_lab::{ConsumerOptions, Lab, eventually};

use crate::scene::{LIMIT, Scene};

/// Changes a Deployment as a person does, container by container.
fn patch(lab: &Lab, scene: &Scene, deployment: &str, change: &Value) -> Result<()> {
    let change = change.to_string();
    lab.kubectl(&[
        "-n",
        scene.namespace(),
        "patch",
        "deployment",
        deployment,
        "-p",
        &change,
    ])?;
    Ok(())
}

impl Scene {
    /// Waits until the running rotation says all of this.
    pub(crate) async fn says(&self, parts: &[String]) -> Result<()> {
        eventually(format!("the rotation to say {parts:?}"), LIMIT, async || {
            let rotation = self.status().await?.rotation.context("the rotation must wait")?;
            let absent: Vec<_> = parts
                .iter()
                .filter(|part| !rotation.message.contains(*part))
                .collect();
            ensure!(absent.is_empty(), "{absent:?} not in {}", rotation.message);
            Ok(Some(()))
        })
        .await
    }
}

#[test]
fn fm34_what_holds_a_rollout_up_is_named_for_each_and_when_it_is_mended_the_rotation_ends() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::new(&lab, "stuck", json!({})).await?;
        let usual = ConsumerOptions::of(&scene.stage.postgres).replicas(1);
        let with = |container: Value, pod: Value| {
            let mut pod = pod;
            pod["containers"] = json!([container]);
            json!({"spec": {"template": {"spec": pod}}})
        };
        let broken = [
            (
                "image",
                with(
                    json!({"name": "image", "image": "lab.local/nowhere:1"}),
                    json!({}),
                ),
                "ErrImageNeverPull",
            ),
            (
                "crash",
                with(
                    json!({"name": "crash", "command": ["/bin/sh", "-c", "exit 3"]}),
                    json!({}),
                ),
                "exited with 3",
            ),
            (
                "homeless",
                with(
                    json!({"name": "homeless"}),
                    json!({"nodeSelector": {"nowhere": "true"}}),
                ),
                "Unschedulable",
            ),
            (
                "unready",
                with(
                    json!({"name": "unready", "readinessProbe": {"httpGet": {"path": "/nowhere"}}}),
                    json!({}),
                ),
                "runs and is not ready",
            ),
        ];
        let mut apps = Vec::new();
        for (name, ..) in &broken {
            let options = usual.clone().named(name).without_waiting();
            apps.push(scene.stage.namespace.consumer(options).await?);
        }
        let mut whole = Vec::new();
        for app in &apps {
            app.wait_until_ready().await?;
            let found: Deployment = scene.stage.namespace.api().get(app.name()).await?;
            whole.push(serde_json::to_value(found.spec.template.spec)?);
        }
        // Paused, nobody sees that what comes next is broken.
        for (name, breaks, _) in &broken {
            patch(
                &lab,
                &scene,
                name,
                &json!({"spec": {"paused": true, "progressDeadlineSeconds": 5}}),
            )?;
            patch(&lab, &scene, name, breaks)?;
        }
        let before = scene.credential().await?;
        let nonce = scene.ask().await?;
        let resumes = broken.each_ref().map(|(name, ..)| {
            format!(
                "kubectl -n {} rollout resume deployment/{name}",
                scene.namespace()
            )
        });
        scene.says(&resumes).await?;
        for (name, ..) in &broken {
            lab.kubectl(&[
                "-n",
                scene.namespace(),
                "rollout",
                "resume",
                &format!("deployment/{name}"),
            ])?;
        }
        scene
            .says(&broken.each_ref().map(|(_, _, why)| (*why).to_owned()))
            .await?;
        scene.says(&["ProgressDeadlineExceeded".to_owned()]).await?;
        ensure!(scene.logs_in(&before).await, "the old password must stay valid");

        for (app, whole) in apps.iter().zip(whole) {
            let mended = json!({"spec": {"template": {"spec": {
                "containers": whole["containers"],
                "nodeSelector": null,
            }}}});
            app.change(&mended).await?;
        }
        scene.completed(&nonce).await?;
        scene.sound(&before, &apps.iter().collect::<Vec<_>>()).await?;
        for (name, ..) in &broken {
            // The first template, the broken one with the mark, and the mended one: no restart more.
            ensure!(scene.revision(name).await? == 3, "{name} was restarted again");
        }
        Ok(())
    });
}

#[test]
fn fm34_a_quota_that_lets_no_new_pod_be_made_is_named_until_there_is_room() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::new(&lab, "full", json!({})).await?;
        let app = scene.app("app", 1).await?;
        let pods: Api<Pod> = scene.stage.namespace.api();
        let present = pods.list(&ListParams::default()).await?.items.len();
        let quota = json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full"},
            "spec": {"hard": {"pods": present.to_string()}},
        });
        scene.stage.namespace.apply(&quota.to_string()).await?;
        // The lab has nobody who counts, so it is said what is there.
        let counted =
            json!({"status": {"hard": {"pods": present.to_string()}, "used": {"pods": present.to_string()}}});
        let patch = [
            "patch",
            "resourcequota",
            "full",
            "--subresource",
            "status",
            "--type",
            "merge",
            "-p",
        ];
        lab.kubectl(&[&["-n", scene.namespace()][..], &patch, &[&counted.to_string()]].concat())?;
        let before = scene.credential().await?;
        let nonce = scene.ask().await?;
        scene
            .says(&["FailedCreate".to_owned(), "exceeded quota: full".to_owned()])
            .await?;
        ensure!(scene.logs_in(&before).await, "the old password must stay valid");
        lab.kubectl(&["-n", scene.namespace(), "delete", "resourcequota", "full"])?;
        scene.completed(&nonce).await?;
        scene.sound(&before, &[&app]).await?;
        ensure!(
            scene.revision("app").await? == 2,
            "it was restarted more than once"
        );
        Ok(())
    });
}
