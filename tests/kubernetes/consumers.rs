//! Who is found to use the Secret, and which pods are old, with real controllers and a real kubelet.

use std::time::Duration;

use anyhow::ensure;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams};
use serde_json::json;
use tandem_lab::{eventually, run};

use crate::scene::{SHAPES, Scene, gated, pod_spec};

const LONG: Duration = Duration::from_secs(90);

#[test]
fn every_kind_of_workload_is_found_by_every_shape_of_reference() {
    run(|lab| async move {
        let scene = Scene::new(&lab).await?;
        scene.app_secret().await?;
        for kind in ["Deployment", "StatefulSet", "DaemonSet", "Job"] {
            for shape in SHAPES.into_iter().chain(["none"]) {
                let name = format!("{}-{}", kind.to_lowercase(), shape.to_lowercase());
                scene
                    .workload(kind, &name, &gated(pod_spec(shape)), json!({}))
                    .await?;
            }
        }
        for shape in SHAPES.into_iter().chain(["none"]) {
            let metadata = json!({"name": format!("pod-{}", shape.to_lowercase())});
            let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": gated(pod_spec(shape))});
            scene.namespace.apply(&pod.to_string()).await?;
        }
        let mut expected = Vec::new();
        for kind in ["deployment", "statefulset", "daemonset", "job", "pod"] {
            expected.extend(SHAPES.map(|shape| format!("{kind}/{kind}-{}", shape.to_lowercase())));
        }
        expected.sort();
        // All controllers have made their pods when each consumer has one that may hold what is there now.
        let found = eventually("a pod of every consumer", LONG, async || {
            let consumers = scene.consumers("mark", None).await?;
            for consumer in &consumers {
                ensure!(
                    consumer.old_pods.len() == 1,
                    "{} has {:?}",
                    consumer.reference,
                    consumer.old_pods
                );
            }
            let mut found: Vec<String> = consumers.iter().map(|c| c.reference.to_string()).collect();
            found.sort();
            ensure!(found.len() >= expected.len(), "{found:?}");
            Ok(Some(found))
        })
        .await?;
        assert_eq!(found, expected);
        Ok(())
    });
}

#[test]
fn fm42_a_pod_that_starts_between_the_flip_and_the_restart_is_new() {
    run(|lab| async move {
        let scene = Scene::new(&lab).await?;
        scene.app_secret().await?;
        scene
            .workload("Deployment", "web", &pod_spec("env"), json!({}))
            .await?;
        let first = scene.running("web", 1).await?;
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let (at, mark) = scene.deliver().await?;
        tokio::time::sleep(Duration::from_millis(1100)).await;
        lab.kubectl(&[
            "-n",
            scene.namespace.name(),
            "scale",
            "deployment/web",
            "--replicas=2",
        ])?;
        scene.running("web", 2).await?;
        let consumer = scene.consumer("web", &mark, at).await?;
        assert_eq!(
            consumer.old_pods,
            [first[0].metadata.name.clone().unwrap_or_default()]
        );
        assert!(!consumer.marked);
        Ok(())
    });
}

#[test]
fn fm40_a_pod_that_takes_its_time_to_end_is_old_until_it_is_gone() {
    run(|lab| async move {
        let scene = Scene::new(&lab).await?;
        scene.app_secret().await?;
        let mut slow = pod_spec("envFrom");
        slow["containers"][0]["command"] = json!([
            "/bin/sh",
            "-c",
            "trap 'sleep 4; exit 0' TERM; while :; do sleep 0.2; done"
        ]);
        slow["terminationGracePeriodSeconds"] = json!(20);
        scene
            .workload(
                "Deployment",
                "web",
                &slow,
                json!({"strategy": {"type": "RollingUpdate"}}),
            )
            .await?;
        let first = scene.running("web", 1).await?;
        let old = first[0].metadata.name.clone().unwrap_or_default();
        let (at, mark) = scene.deliver().await?;
        scene.restart("web", &mark, at).await?;

        let deployments: Api<k8s_openapi::api::apps::v1::Deployment> = scene.namespace.api();
        let consumer = eventually("the rollout to count as complete", LONG, async || {
            let status = deployments.get("web").await?.status.unwrap_or_default();
            // What `kubectl rollout status` looks at: it does not know of pods that are ending.
            ensure!(status.observed_generation == Some(2), "not seen yet");
            ensure!(
                (
                    status.updated_replicas,
                    status.replicas,
                    status.available_replicas
                ) == (Some(1), Some(1), Some(1)),
                "{status:?}"
            );
            Ok(Some(scene.consumer("web", &mark, at).await?))
        })
        .await?;
        assert_eq!(consumer.old_pods, [old.as_str()]);
        assert!(
            consumer.obstacle.as_ref().is_some_and(|o| o.contains(&old)),
            "{consumer:?}"
        );
        eventually("the old pod to be gone", LONG, async || {
            Ok(scene
                .consumer("web", &mark, at)
                .await?
                .old_pods
                .is_empty()
                .then_some(()))
        })
        .await?;
        // What may be left of it is an object without a process.
        let pods: Api<Pod> = scene.namespace.api();
        let left = pods.get_opt(&old).await?.and_then(|pod| pod.status);
        let mut containers = left
            .iter()
            .flat_map(|status| status.container_statuses.iter().flatten());
        assert!(containers.all(|c| c.state.as_ref().is_some_and(|state| state.terminated.is_some())));
        Ok(())
    });
}

#[test]
fn fm37_on_delete_and_partition_keep_old_pods_and_the_command_that_is_told_replaces_them() {
    run(|lab| async move {
        let scene = Scene::new(&lab).await?;
        scene.app_secret().await?;
        let on_delete = json!({"updateStrategy": {"type": "OnDelete"}});
        let partition = json!({"replicas": 2, "podManagementPolicy": "Parallel", "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}});
        scene
            .workload("StatefulSet", "store", &pod_spec("env"), on_delete.clone())
            .await?;
        scene
            .workload("DaemonSet", "agent", &pod_spec("env"), on_delete)
            .await?;
        scene
            .workload("StatefulSet", "parts", &pod_spec("env"), partition)
            .await?;
        for (name, count) in [("store", 1), ("agent", 1), ("parts", 2)] {
            scene.running(name, count).await?;
        }
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let (at, mark) = scene.deliver().await?;
        for name in ["store", "agent", "parts"] {
            scene.restart(name, &mark, at).await?;
        }
        // The partition lets one pod go; nothing else moves.
        eventually("the pod above the partition to be new", LONG, async || {
            let old = scene.consumer("parts", &mark, at).await?.old_pods;
            ensure!(old == ["parts-0"], "{old:?}");
            Ok(Some(()))
        })
        .await?;
        for (name, cause) in [
            ("store", "OnDelete"),
            ("agent", "OnDelete"),
            ("parts", "partition 1"),
        ] {
            let consumer = scene.consumer(name, &mark, at).await?;
            assert!(consumer.marked);
            assert_eq!(consumer.old_pods.len(), 1, "{consumer:?}");
            let obstacle = consumer.obstacle.unwrap_or_default();
            assert!(obstacle.contains(cause), "{obstacle}");
            let command: Vec<&str> = obstacle
                .split_once("kubectl ")
                .map(|(_, rest)| rest.split(' ').collect())
                .unwrap_or_default();
            lab.kubectl(&[&command[..], &["--wait=false"]].concat())?;
        }
        for name in ["store", "agent", "parts"] {
            eventually(format!("{name} to have no old pod"), LONG, async || {
                let old = scene.consumer(name, &mark, at).await?.old_pods;
                ensure!(old.is_empty(), "{old:?}");
                Ok(Some(()))
            })
            .await?;
        }
        Ok(())
    });
}

#[test]
fn fm38_a_running_job_counts_until_it_ends_and_a_workload_without_pods_needs_nothing() {
    run(|lab| async move {
        let scene = Scene::with(
            &lab,
            json!({"restart": {"targets": [{"kind": "Deployment", "name": "absent"}]}}),
        )
        .await?;
        scene.app_secret().await?;
        let mut brief = pod_spec("env");
        brief["containers"][0]["command"] =
            json!(["/bin/sh", "-c", "while ! test -e /tmp/end; do sleep 0.2; done"]);
        brief["volumes"] = json!([{"name": "tmp", "emptyDir": {}}]);
        brief["containers"][0]["volumeMounts"] = json!([{"name": "tmp", "mountPath": "/tmp"}]);
        scene.workload("Job", "nightly", &brief, json!({})).await?;
        scene
            .workload("Deployment", "asleep", &pod_spec("env"), json!({"replicas": 0}))
            .await?;
        let pod = scene.running("nightly", 1).await?[0]
            .metadata
            .name
            .clone()
            .unwrap_or_default();
        let (at, mark) = scene.deliver().await?;

        let workloads = scene.cluster.workloads().await?;
        let findings = workloads.findings(&scene.policy);
        let reasons: Vec<_> = findings.iter().map(|f| (f.reason, f.blocks)).collect();
        assert_eq!(reasons, [("TargetMissing", false), ("UnmanagedConsumers", false)]);
        assert!(
            findings[1].message.contains("job/nightly"),
            "{}",
            findings[1].message
        );
        let job = scene.consumer("nightly", &mark, at).await?;
        assert_eq!(job.old_pods, [pod.as_str()]);
        assert!(scene.consumer("asleep", &mark, at).await?.old_pods.is_empty());

        lab.kubectl(&[
            "-n",
            scene.namespace.name(),
            "exec",
            &pod,
            "--",
            "/bin/sh",
            "-c",
            ": > /tmp/end",
        ])?;
        let names = eventually("the Job to end", LONG, async || {
            let consumers = scene.consumers(&mark, at).await?;
            ensure!(consumers.iter().all(|c| c.old_pods.is_empty()), "{consumers:?}");
            Ok(Some(
                consumers
                    .iter()
                    .map(|c| c.reference.to_string())
                    .collect::<Vec<_>>(),
            ))
        })
        .await?;
        assert_eq!(names, ["deployment/asleep"]);
        Ok(())
    });
}

#[test]
fn fm34_a_rollout_that_cannot_go_on_says_why() {
    run(|lab| async move {
        let scene = Scene::new(&lab).await?;
        scene.app_secret().await?;
        let once = |script: &str| {
            let mut spec = pod_spec("env");
            spec["containers"][0]["command"] = json!(["/bin/sh", "-c", script]);
            spec
        };
        // Starts with the old password only.
        let picky = once(&format!(
            "test \"$PASSWORD\" = {} || exit 7; trap 'exit 0' TERM; while :; do sleep 0.2; done",
            crate::scene::PASSWORD
        ));
        scene
            .workload("Deployment", "picky", &picky, json!({"minReadySeconds": 5}))
            .await?;
        scene
            .workload("Deployment", "paused", &pod_spec("env"), json!({"paused": true}))
            .await?;
        let mut wide = pod_spec("env");
        wide["containers"][0]["ports"] = json!([{"containerPort": 80, "hostPort": 18080}]);
        scene.workload("Deployment", "wide", &wide, json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}})).await?;
        lab.kubectl(&[
            "-n",
            scene.namespace.name(),
            "rollout",
            "resume",
            "deployment/paused",
        ])?;
        for name in ["picky", "paused", "wide"] {
            scene.running(name, 1).await?;
        }
        lab.kubectl(&[
            "-n",
            scene.namespace.name(),
            "rollout",
            "pause",
            "deployment/paused",
        ])?;
        let (at, mark) = scene.deliver().await?;
        for name in ["picky", "paused", "wide"] {
            scene.restart(name, &mark, at).await?;
        }
        for (name, parts) in [
            ("picky", &["CrashLoopBackOff", "exited with 7"][..]),
            ("paused", &["rollout resume deployment/paused"]),
            ("wide", &["Unschedulable"]),
        ] {
            eventually(format!("{name} to say why"), LONG, async || {
                let consumer = scene.consumer(name, &mark, at).await?;
                let obstacle = consumer.obstacle.unwrap_or_default();
                ensure!(parts.iter().all(|part| obstacle.contains(part)), "{obstacle:?}");
                Ok(Some(()))
            })
            .await?;
        }
        Ok(())
    });
}

#[test]
fn fm39_an_address_leads_to_its_pod() {
    run(|lab| async move {
        let scene = Scene::new(&lab).await?;
        scene
            .workload("Deployment", "web", &pod_spec("none"), json!({}))
            .await?;
        let pod = scene.running("web", 1).await?.remove(0);
        let ip = pod.status.and_then(|status| status.pod_ip).unwrap_or_default();
        let name = pod.metadata.name.unwrap_or_default();
        let located = scene.cluster.workloads().await?.locate(&ip);
        assert_eq!(located, format!("pod {name} of deployment/web"));
        let pods: Api<Pod> = scene.namespace.api();
        pods.delete(&name, &DeleteParams::default()).await?;
        Ok(())
    });
}
