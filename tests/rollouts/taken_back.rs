//! Restarts that somebody takes back while old pods are still there.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use serde_json::json;
use tandem_lab::{Consumer, ConsumerOptions, Kind, eventually};

use crate::scene::{LIMIT, POLICY, Scene};

/// Some passes of the controller, in which it could do what it must not.
const A_WHILE: Duration = Duration::from_secs(8);

/// Waits until the controller of a workload has made a pod of the marked template.
async fn first_new_pod(app: &Consumer) -> anyhow::Result<()> {
    let key = format!("rotation.tandem.dev/{POLICY}");
    eventually(format!("a new pod of {}", app.name()), LIMIT, async || {
        let pods = app.pods().await?;
        let mut annotations = pods.iter().filter_map(|pod| pod.metadata.annotations.as_ref());
        Ok(annotations.any(|all| all.contains_key(&key)).then_some(()))
    })
    .await
}

#[test]
fn fm35_fm36_a_restart_that_somebody_takes_back_is_waited_for_and_not_made_again() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::new(&lab, "taken-back", json!({})).await?;
        let namespace = &scene.stage.namespace;
        let usual = ConsumerOptions::of(&scene.stage.postgres);
        let web = namespace.consumer(usual.clone().named("web")).await?;
        let store = usual.named("store").kind(Kind::StatefulSet);
        let store = namespace.consumer(store).await?;
        // Slow rollouts, so that there is something to take back.
        for (app, seconds) in [(&web, 60), (&store, 10)] {
            app.change(&json!({"spec": {"minReadySeconds": seconds}})).await?;
        }
        let before = scene.credential().await?;
        let started = Timestamp::now();
        let nonce = scene.ask().await?;
        first_new_pod(&web).await?;
        lab.kubectl(&["-n", scene.namespace(), "rollout", "undo", "deployment/web"])?;
        let mark = format!("rotation.tandem.dev/{POLICY}");
        let unmarked = json!({
            "metadata": {"annotations": {"gitops.example/synced": "revision-7"}},
            "spec": {"template": {"metadata": {"annotations": {mark: null}}}},
        });
        first_new_pod(&store).await?;
        let patch = [
            "patch",
            "statefulset",
            "store",
            "--type",
            "merge",
            "--field-manager",
            "gitops",
        ];
        let unmarked = unmarked.to_string();
        lab.kubectl(&[&["-n", scene.namespace()][..], &patch, &["-p", &unmarked]].concat())?;

        let told = eventually("both to be named", LIMIT, async || {
            let rotation = scene.status().await?.rotation.context("the rotation must wait")?;
            let both = ["deployment/web", "statefulset/store"]
                .iter()
                .all(|name| rotation.message.contains(&format!("rollout restart {name}")));
            ensure!(both, "{}: {}", rotation.phase, rotation.message);
            Ok(Some(rotation.message))
        })
        .await?;
        ensure!(told.contains("which gitops wrote last"), "{told}");
        tokio::time::sleep(A_WHILE).await;
        ensure!(scene.logs_in(&before).await, "the old password must stay valid");

        // Any restart will do: what counts is that the pods are new.
        for (app, name) in [(&web, "deployment/web"), (&store, "statefulset/store")] {
            app.change(&json!({"spec": {"minReadySeconds": 0}})).await?;
            lab.kubectl(&["-n", scene.namespace(), "rollout", "restart", name])?;
        }
        scene.completed(&nonce).await?;
        scene.sound(&before, &[&web, &store]).await?;
        let (controller, account) = (scene.controller.namespace(), scene.controller.service_account());
        let audit = lab.audit().since(started).service_account(controller, account);
        for kind in ["deployments", "statefulsets"] {
            let requests = audit.read()?;
            let restarts = requests
                .iter()
                .filter(|r| r.verb == "patch" && r.resource == kind);
            ensure!(restarts.count() == 1, "{kind} were restarted again");
        }
        Ok(())
    });
}
