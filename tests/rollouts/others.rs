//! Pods that nobody restarts, and pods that only a person replaces.

use std::time::Duration;

use anyhow::ensure;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams};
use serde_json::json;
use tandem_lab::{ConsumerOptions, Kind, eventually};

use crate::scene::{LIMIT, Scene, unharmed};

#[test]
fn case33_fm38_fm42_a_cron_job_is_left_alone_its_job_is_waited_for_and_pods_of_an_autoscaler_are_new() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::new(&lab, "others", json!({})).await?;
        let namespace = &scene.stage.namespace;
        let usual = ConsumerOptions::of(&scene.stage.postgres);
        let web = scene.app("web", 1).await?;
        let lone = usual.clone().named("lone").kind(Kind::ReplicaSet).replicas(1);
        let lone = namespace.consumer(lone).await?;
        let nightly = ConsumerOptions {
            lasts: Some(Duration::from_secs(20)),
            wait: false,
            ..usual.named("nightly").kind(Kind::CronJob)
        };
        let nightly = namespace.consumer(nightly).await?;
        let run = |name: &str| {
            let from = ["create", "job", "--from=cronjob/nightly", name];
            lab.kubectl(&[&["-n", scene.namespace()][..], &from].concat())
        };
        run("night-1")?;
        eventually("the Job to log in", LIMIT, async || {
            Ok((nightly.tally()?.attempts > 0).then_some(()))
        })
        .await?;
        let jobs: Api<Job> = namespace.api();
        let cron_jobs: Api<CronJob> = namespace.api();
        let (job, cron_job) = (jobs.get("night-1").await?, cron_jobs.get("nightly").await?);
        let before = scene.credential().await?;
        let nonce = scene.ask().await?;
        scene.phase("Restarted").await?;
        // The real autoscaler, in the middle: what is below its minimum it scales up without asking for metrics.
        let autoscaler = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "minReplicas": 3, "maxReplicas": 5,
                "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}],
            },
        });
        namespace.apply(&autoscaler.to_string()).await?;
        let old = lone.pods().await?.remove(0).metadata.name.unwrap_or_default();
        scene
            .says(&[
                "job/night-1".to_owned(),
                "a running Job is never stopped".to_owned(),
                format!("ReplicaSet lone is not restarted by Tandem; replace the pod with: kubectl -n {} delete pod {old}", scene.namespace()),
            ])
            .await?;
        ensure!(scene.logs_in(&before).await, "the old password must stay valid");
        eventually("the pods of the autoscaler", LIMIT, async || {
            Ok((web.pods().await?.len() == 3).then_some(()))
        })
        .await?;
        lab.kubectl(&["-n", scene.namespace(), "delete", "pod", &old])?;
        scene.completed(&nonce).await?;

        // The next Job of the CronJob loads what is there now.
        run("night-2")?;
        eventually("the next Job to end", LIMIT, async || {
            let status = jobs.get("night-2").await?.status.unwrap_or_default();
            Ok(status.succeeded.filter(|ended| *ended == 1).map(drop))
        })
        .await?;
        scene.sound(&before, &[&web, &lone, &nightly]).await?;
        let (job_now, cron_job_now) = (jobs.get("night-1").await?, cron_jobs.get("nightly").await?);
        ensure!(job_now.metadata.uid == job.metadata.uid, "the Job was made again");
        ensure!(
            cron_job_now.metadata.generation == cron_job.metadata.generation,
            "the CronJob was changed"
        );
        ensure!(
            web.pods().await?.len() == 3,
            "all pods of the autoscaler are there"
        );
        ensure!(
            scene.revision("web").await? == 2,
            "it was restarted more than once"
        );
        unharmed(&web.tally()?)
    });
}

#[test]
fn case35_a_partition_and_on_delete_keep_the_rotation_waiting_until_the_command_that_is_told_is_run() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::new(&lab, "by-hand", json!({})).await?;
        let namespace = &scene.stage.namespace;
        let usual = ConsumerOptions::of(&scene.stage.postgres);
        let partition = json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 1}}}});
        let set = usual.clone().named("set").kind(Kind::StatefulSet).replicas(2);
        let set = namespace.consumer(set.patch(partition)).await?;
        let on_delete = json!({"spec": {"updateStrategy": {"type": "OnDelete"}}});
        let daemon = usual.named("daemon").kind(Kind::DaemonSet);
        let daemon = namespace.consumer(daemon.patch(on_delete)).await?;
        let before = scene.credential().await?;
        let nonce = scene.ask().await?;
        let pod = daemon.pods().await?.remove(0).metadata.name.unwrap_or_default();
        let command = |pod: &str| format!("kubectl -n {} delete pod {pod}", scene.namespace());
        // The pod above the partition is replaced, and the one below it stays.
        scene
            .says(&[
                "statefulset/set has 1 old: set-0".to_owned(),
                format!("below the partition 1; replace them with: {}", command("set-0")),
                format!("OnDelete; replace its pods with: {}", command(&pod)),
            ])
            .await?;
        ensure!(scene.logs_in(&before).await, "the old password must stay valid");
        let pods: Api<Pod> = namespace.api();
        for pod in ["set-0", &pod] {
            pods.delete(pod, &DeleteParams::default()).await?;
        }
        scene.completed(&nonce).await?;
        scene.sound(&before, &[&set, &daemon]).await
    });
}
