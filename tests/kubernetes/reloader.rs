//! Reloader beside Tandem, on a real API server: what its instances publish, the marks that it leaves, and the write that
//! is made in its stead. Reloader itself does not run here; its writes are made as it makes them.

use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tandem::api::restart_mark;
use tandem::effects::kubernetes::Cluster;
use tandem::effects::kubernetes::consumers::Workloads;
use tandem::effects::kubernetes::reloader::Content;
use tandem::effects::{Error, Outcome};
use tandem::machine::facts::{Consumer, Restarter, SecretSeen};
use tandem_lab::{eventually, run};

use crate::scene::{SECRET, Scene, gated, pod_spec};

const LONG: Duration = Duration::from_secs(90);
const NAMED: &str = "secret.reloader.stakater.com/reload";

/// An instance as its chart installs it, in the namespace of the scene, told this much.
async fn publish(scene: &Scene, options: Value) -> Result<()> {
    publish_text(scene, &options.to_string()).await
}

async fn publish_text(scene: &Scene, options: &str) -> Result<()> {
    let namespace = scene.namespace.name();
    let place = json!({"name": "reloader-reloader", "namespace": namespace});
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": "reloader-meta-info", "namespace": namespace,
            "labels": {"reloader.stakater.com/meta-info": "reloader"},
        },
        "data": {"deploymentInfo": place.to_string(), "reloaderOptions": options},
    });
    scene.namespace.apply(&map.to_string()).await
}

/// Its Deployment, with these arguments.
async fn install(scene: &Scene, replicas: usize, arguments: &[&str]) -> Result<()> {
    let mut pod = pod_spec("none");
    pod["containers"][0]["args"] = json!(arguments);
    scene
        .workload(
            "Deployment",
            "reloader-reloader",
            &pod,
            json!({"replicas": replicas}),
        )
        .await?;
    let deployments: Api<Deployment> = scene.namespace.api();
    eventually("Reloader to be as many as wanted", LONG, async || {
        let found = deployments.get("reloader-reloader").await?;
        let status = found.status.unwrap_or_default();
        let available = status.available_replicas.unwrap_or_default();
        let settled = status.observed_generation == found.metadata.generation
            && status.replicas == status.updated_replicas
            && usize::try_from(available)? == replicas;
        Ok(settled.then_some(()))
    })
    .await
}

/// Annotates a workload for Reloader.
async fn annotate(scene: &Scene, name: &str, annotations: Value) -> Result<()> {
    let deployments: Api<Deployment> = scene.namespace.api();
    let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
    deployments.patch(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

impl Scene {
    /// The workloads as they are seen during a rotation that has delivered for the first time, or once more.
    async fn beside_reloader(&self, content: Content) -> Result<Workloads> {
        let app = self.cluster.see(&self.policy, None).await?.1;
        let now = Timestamp::now();
        let reloading = self
            .cluster
            .reloading(&self.policy, app.as_ref(), content, now)
            .await?;
        Ok(self.cluster.workloads().await?.beside(reloading))
    }

    async fn consumer_beside(&self, name: &str, content: Content) -> Result<Consumer> {
        let SecretSeen::Present { landing, .. } = self.cluster.see(&self.policy, None).await?.0 else {
            anyhow::bail!("there is no Secret");
        };
        let id = landing.as_ref().map(|landing| landing.id.as_str());
        let mark = restart_mark(&self.policy.uid, 1, id);
        let at = landing.as_ref().map(|landing| landing.at);
        let all = self
            .beside_reloader(content)
            .await?
            .judge(&self.policy, &mark, at);
        all.into_iter()
            .find(|consumer| consumer.reference.name == name)
            .with_context(|| format!("{name} is no consumer"))
    }

    async fn stands_in(&self, name: &str) -> Result<Outcome, Error> {
        let consumer = self
            .consumer_beside(name, Content::First)
            .await
            .map_err(|error| Error::Unusable(error.to_string()))?;
        let (cluster, policy) = (&self.cluster, &self.policy);
        cluster
            .stand_in(policy, &consumer.reference, &consumer.uid, Timestamp::now())
            .await
    }
}

#[test]
fn case20_case21_case30_case31_case32_only_what_a_running_instance_restarts_is_left_to_it() {
    run(|lab| async move {
        let scene = Scene::new(&lab).await?;
        scene.app_secret().await?;
        let own = scene.namespace.name().to_owned();
        for (name, shape) in [
            ("web", "env"),
            ("bystander", "none"),
            ("stranger", "none"),
            ("plain", "env"),
        ] {
            let pod = gated(pod_spec(shape));
            scene
                .workload("Deployment", name, &pod, json!({"replicas": 0}))
                .await?;
        }
        annotate(&scene, "web", json!({NAMED: "db-cred.*, other"})).await?;
        annotate(&scene, "bystander", json!({NAMED: SECRET})).await?;
        annotate(&scene, "stranger", json!({"reloader.stakater.com/auto": "true"})).await?;
        let web =
            async || Ok::<_, anyhow::Error>(scene.consumer_beside("web", Content::First).await?.restarter);

        // Nobody publishes anything: the same set, restarted by Tandem.
        for name in ["web", "bystander", "plain"] {
            assert_eq!(
                scene.consumer_beside(name, Content::First).await?.restarter,
                Restarter::Tandem,
                "{name}"
            );
        }
        assert!(
            scene.consumer_beside("stranger", Content::First).await.is_err(),
            "it does not use the Secret"
        );

        let only_here = format!("--namespaces={own}");
        publish(&scene, json!({})).await?;
        assert_eq!(web().await?, Restarter::Tandem, "its Deployment is gone");
        install(&scene, 0, &[&only_here]).await?;
        assert_eq!(web().await?, Restarter::Tandem, "its Deployment has no replica");
        install(&scene, 1, &[&only_here]).await?;
        for (name, who) in [
            ("web", Restarter::Reloader),
            ("bystander", Restarter::Reloader),
            ("plain", Restarter::Tandem),
        ] {
            assert_eq!(
                scene.consumer_beside(name, Content::First).await?.restarter,
                who,
                "{name}"
            );
        }
        // A delivery that had to be made again is nothing that its mark could tell.
        assert_eq!(
            scene.consumer_beside("web", Content::Again).await?.restarter,
            Restarter::Tandem
        );

        for (options, who) in [
            (json!({"webhookUrl": "http://hook"}), Restarter::Tandem),
            (json!({"resourcesToIgnore": ["secrets"]}), Restarter::Tandem),
            (json!({"resourceSelectors": ["reload=yes"]}), Restarter::Tandem),
            (
                json!({"secretUpdateOnChangeAnnotation": "x.io/reload"}),
                Restarter::Tandem,
            ),
            (json!({"namespacesToIgnore": [own]}), Restarter::Reloader),
            (json!({"enableHA": true}), Restarter::Tandem),
        ] {
            publish(&scene, options.clone()).await?;
            assert_eq!(web().await?, who, "{options}");
        }
        annotate(&scene, "web", json!({"x.io/reload": SECRET})).await?;
        publish(&scene, json!({"secretUpdateOnChangeAnnotation": "x.io/reload"})).await?;
        assert_eq!(web().await?, Restarter::Reloader);

        let lease = async |renewed: &str| {
            let lease = json!({
                "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "stakater-reloader-lock"},
                "spec": {"holderIdentity": "reloader-0", "leaseDurationSeconds": 15, "renewTime": renewed},
            });
            scene.namespace.apply(&lease.to_string()).await
        };
        publish(&scene, json!({"enableHA": true})).await?;
        lease("2020-01-01T00:00:00.000000Z").await?;
        assert_eq!(web().await?, Restarter::Tandem, "nobody leads");
        lease(&format!("{:.6}", Timestamp::now())).await?;
        assert_eq!(web().await?, Restarter::Reloader);

        // Not confined, it goes by the labels of the namespace; those of other namespaces have nothing to do with it. The
        // labels come before the freedom: an instance without either would be every other test's Reloader too.
        let selector = format!("kubernetes.io/metadata.name={own}");
        publish(&scene, json!({"namespaceSelectors": [selector]})).await?;
        install(&scene, 1, &[]).await?;
        assert_eq!(web().await?, Restarter::Reloader);
        publish(
            &scene,
            json!({"namespaceSelectors": ["kubernetes.io/metadata.name=other"]}),
        )
        .await?;
        assert_eq!(web().await?, Restarter::Tandem);
        publish(
            &scene,
            json!({"namespaceSelectors": [selector], "namespacesToIgnore": [own]}),
        )
        .await?;
        assert_eq!(web().await?, Restarter::Tandem);
        Ok(())
    });
}

#[test]
fn what_may_not_be_seen_of_reloader_is_reckoned_with_and_told() {
    run(|lab| async move {
        let scene = Scene::new(&lab).await?;
        scene.app_secret().await?;
        let pod = gated(pod_spec("env"));
        scene
            .workload("Deployment", "web", &pod, json!({"replicas": 0}))
            .await?;
        annotate(
            &scene,
            "web",
            json!({NAMED: "db-(, .*", "deployment.reloader.stakater.com/pause-period": "5 minutes"}),
        )
        .await?;
        let app = scene.cluster.see(&scene.policy, None).await?.1;
        let told = async |cluster: &Cluster| {
            let now = Timestamp::now();
            let reloading = cluster
                .reloading(&scene.policy, app.as_ref(), Content::Unknown, now)
                .await?;
            let workloads = scene.cluster.workloads().await?.beside(reloading);
            let consumers = workloads.judge(&scene.policy, "", None);
            let reasons: Vec<_> = workloads
                .reloader_findings(&scene.policy, &consumers)
                .into_iter()
                .map(|finding| (finding.reason, finding.blocks, finding.message))
                .collect();
            Ok::<_, anyhow::Error>((consumers[0].restarter, reasons))
        };
        let (who, nothing) = told(&scene.cluster).await?;
        assert_eq!((who, nothing), (Restarter::Tandem, Vec::new()));

        let (who, found) = told(&scene.restricted(json!([])).await?).await?;
        assert_eq!(who, Restarter::Reloader);
        let reasons: Vec<_> = found
            .iter()
            .map(|(reason, blocks, _)| (*reason, *blocks))
            .collect();
        let expected = [
            "ReloaderUnknown",
            "ReloaderPatternInvalid",
            "ReloaderPauseInvalid",
        ];
        assert_eq!(reasons, expected.map(|reason| (reason, false)));
        let parts = ["kubectl apply -k deploy/base", "\"db-(\"", "kubectl -n"];
        for ((_, _, message), part) in found.iter().zip(parts) {
            assert!(message.contains(part), "{part}: {message}");
        }

        install(&scene, 1, &[&format!("--namespaces={}", scene.namespace.name())]).await?;
        publish_text(&scene, "no JSON").await?;
        let (who, found) = told(&scene.cluster).await?;
        assert_eq!((who, found[0].0), (Restarter::Reloader, "ReloaderUnreadable"));
        assert!(
            found[0].2.contains("jsonpath='{.data.reloaderOptions}'"),
            "{}",
            found[0].2
        );
        Ok(())
    });
}

#[test]
fn case18_case19_case29_a_write_in_its_stead_is_its_own_write_and_recognised() {
    run(|lab| async move {
        let scene = Scene::new(&lab).await?;
        scene.app_secret().await?;
        let pod = gated(pod_spec("env"));
        scene
            .workload("Deployment", "web", &pod, json!({"replicas": 0}))
            .await?;
        annotate(&scene, "web", json!({NAMED: SECRET})).await?;
        let only_here = format!("--namespaces={}", scene.namespace.name());
        install(&scene, 1, &[&only_here]).await?;
        publish(&scene, json!({})).await?;
        scene.deliver().await?;
        assert!(!scene.consumer_beside("web", Content::First).await?.marked);

        let deployments: Api<Deployment> = scene.namespace.api();
        assert_eq!(scene.stands_in("web").await?, Outcome::Done);
        let written = deployments.get("web").await?;
        let container = written
            .spec
            .clone()
            .template
            .spec
            .context("a pod")?
            .containers
            .remove(0);
        let variable = container.env.context("variables")?.remove(0);
        assert_eq!(variable.name, "STAKATER_DB_CREDENTIALS_SECRET");
        assert!(scene.consumer_beside("web", Content::First).await?.marked);
        // After another delivery of the same content it proves nothing.
        assert!(!scene.consumer_beside("web", Content::Again).await?.marked);

        // Reloader is late: the identical patch, and Tandem's own once more.
        let element = json!({"name": variable.name, "value": variable.value});
        let patch =
            json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "env": [element]}]}}}});
        let params = PatchParams {
            field_manager: Some("Reloader".to_owned()),
            ..PatchParams::default()
        };
        deployments
            .patch("web", &params, &Patch::Strategic(patch))
            .await?;
        assert_eq!(scene.stands_in("web").await?, Outcome::Done);
        let after = deployments.get("web").await?.metadata;
        assert_eq!(after.generation, written.metadata.generation);

        // The other strategy: its mark carries the time, so one that is there is never written again.
        let undo = json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "env": [{"name": variable.name, "$patch": "delete"}]}]}}}});
        deployments.patch("web", &params, &Patch::Strategic(undo)).await?;
        assert!(!scene.consumer_beside("web", Content::First).await?.marked);
        publish(&scene, json!({"reloadStrategy": "annotations"})).await?;
        assert_eq!(scene.stands_in("web").await?, Outcome::Done);
        let written = deployments.get("web").await?;
        let annotations = written
            .spec
            .template
            .metadata
            .and_then(|metadata| metadata.annotations);
        let text = annotations.context("annotations")?["reloader.stakater.com/last-reloaded-from"].clone();
        let value: Value = serde_json::from_str(&text)?;
        assert_eq!(
            (&value["type"], &value["name"]),
            (&json!("SECRET"), &json!(SECRET))
        );
        assert_eq!(value["containerRefs"], json!(["main"]));
        assert!(scene.consumer_beside("web", Content::First).await?.marked);
        tokio::time::sleep(Duration::from_millis(1100)).await;
        assert_eq!(scene.stands_in("web").await?, Outcome::Done);
        assert_eq!(
            deployments.get("web").await?.metadata.generation,
            written.metadata.generation
        );

        // Nobody stands in for one that is gone.
        install(&scene, 0, &[&only_here]).await?;
        let gone = scene.stands_in("web").await;
        assert!(matches!(gone, Err(Error::Conflict { .. })), "{gone:?}");
        assert_eq!(
            deployments.get("web").await?.metadata.generation,
            written.metadata.generation
        );
        Ok(())
    });
}
