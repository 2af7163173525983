//! The restart of a workload.

use std::time::Duration;

use anyhow::ensure;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::json;
use tandem::effects::{Error, Outcome};
use tandem::machine::facts::Refused;
use tandem_lab::{eventually, run};

use crate::scene::{Scene, pod_spec};

const LONG: Duration = Duration::from_secs(90);

#[test]
fn fm05_a_restart_made_twice_is_one_rollout_of_every_kind() {
    run(|lab| async move {
        let scene = Scene::new(&lab).await?;
        scene.app_secret().await?;
        let kinds = [
            ("Deployment", "web"),
            ("StatefulSet", "store"),
            ("DaemonSet", "agent"),
        ];
        for (kind, name) in kinds {
            scene.workload(kind, name, &pod_spec("env"), json!({})).await?;
        }
        for (_, name) in kinds {
            scene.running(name, 1).await?;
        }
        let (at, mark) = scene.deliver().await?;
        for (_, name) in kinds {
            assert_eq!(scene.restart(name, &mark, at).await?, Outcome::Done);
        }
        for (_, name) in kinds {
            eventually(format!("{name} to have new pods only"), LONG, async || {
                let consumer = scene.consumer(name, &mark, at).await?;
                ensure!(
                    consumer.old_pods.is_empty() && consumer.ready == 1,
                    "{consumer:?}"
                );
                Ok(Some(()))
            })
            .await?;
            let generation = || {
                lab.kubectl(&[
                    "-n",
                    scene.namespace.name(),
                    "get",
                    "deploy,sts,ds",
                    "-l",
                    &format!("app={name}"),
                    "-o",
                    "jsonpath={.items[*].metadata.generation}",
                ])
            };
            let before = generation()?;
            assert_eq!(scene.restart(name, &mark, at).await?, Outcome::Done);
            assert_eq!(generation()?, before);
        }
        let sets: Api<ReplicaSet> = scene.namespace.api();
        assert_eq!(sets.list(&ListParams::default()).await?.items.len(), 2);
        Ok(())
    });
}

#[test]
fn a_second_delivery_of_one_rotation_restarts_again() {
    run(|lab| async move {
        let scene = Scene::new(&lab).await?;
        scene.app_secret().await?;
        scene
            .workload("Deployment", "web", &pod_spec("env"), json!({}))
            .await?;
        scene.running("web", 1).await?;
        let (at, mark) = scene.deliver().await?;
        scene.restart("web", &mark, at).await?;
        let settled = async |mark: &str, at| {
            eventually("new pods only", LONG, async || {
                let consumer = scene.consumer("web", mark, at).await?;
                ensure!(
                    consumer.old_pods.is_empty() && consumer.ready == 1,
                    "{consumer:?}"
                );
                Ok(Some(()))
            })
            .await
        };
        settled(&mark, at).await?;

        // Somebody puts the old credential back; a pod that starts now holds it, under the first delivery's mark.
        scene.app_secret().await?;
        lab.kubectl(&["-n", scene.namespace.name(), "delete", "pod", "-l", "app=web"])?;
        let meanwhile = scene
            .running("web", 1)
            .await?
            .remove(0)
            .metadata
            .name
            .unwrap_or_default();
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let (at, second) = scene.deliver().await?;
        assert_ne!(second, mark);
        let consumer = scene.consumer("web", &second, at).await?;
        assert_eq!((consumer.old_pods, consumer.marked), (vec![meanwhile], false));
        scene.restart("web", &second, at).await?;
        settled(&second, at).await
    });
}

#[test]
fn a_workload_that_is_gone_or_another_one_is_a_conflict_and_is_never_made() {
    run(|lab| async move {
        let scene = Scene::new(&lab).await?;
        scene
            .workload("Deployment", "web", &pod_spec("env"), json!({"replicas": 0}))
            .await?;
        let consumer = scene.consumer("web", "mark", None).await?;
        let deployments: Api<Deployment> = scene.namespace.api();
        let restart = async || {
            scene
                .cluster
                .restart(
                    &consumer.reference,
                    &consumer.uid,
                    "rotation.tandem.dev/app",
                    "mark",
                )
                .await
        };
        deployments.delete("web", &DeleteParams::default()).await?;
        eventually("it to be gone", LONG, async || {
            Ok(deployments.get_opt("web").await?.is_none().then_some(()))
        })
        .await?;
        let gone = restart().await;
        assert!(
            matches!(&gone, Err(Error::Conflict { what }) if what.contains("web")),
            "{gone:?}"
        );
        assert!(deployments.get_opt("web").await?.is_none());

        scene
            .workload("Deployment", "web", &pod_spec("env"), json!({"replicas": 0}))
            .await?;
        let another = restart().await;
        assert!(matches!(another, Err(Error::Conflict { .. })), "{another:?}");
        let template = deployments.get("web").await?.spec.template;
        assert_eq!(template.metadata.and_then(|metadata| metadata.annotations), None);
        Ok(())
    });
}

#[test]
fn fm43_a_restart_whose_right_was_taken_away_is_refused_with_the_command() {
    run(|lab| async move {
        let scene = Scene::new(&lab).await?;
        scene
            .workload("Deployment", "web", &pod_spec("env"), json!({"replicas": 0}))
            .await?;
        let consumer = scene.consumer("web", "mark", None).await?;
        let list = json!([{"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["list"]}]);
        let restricted = scene.restricted(list).await?;
        let outcome = restricted
            .restart(
                &consumer.reference,
                &consumer.uid,
                "rotation.tandem.dev/app",
                "mark",
            )
            .await?;
        let Outcome::Refused(Refused::Otherwise(finding)) = outcome else {
            anyhow::bail!("{outcome:?}");
        };
        assert_eq!(finding.reason, "AccessDenied");
        assert!(
            finding.message.contains("patch Deployment") && finding.message.contains("tandem rbac"),
            "{}",
            finding.message
        );
        Ok(())
    });
}
