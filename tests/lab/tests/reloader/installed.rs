//! Reloader as its chart installs it: what it publishes, and what its Deployment says of it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tandem_lab::{Lab, Namespace, ReloaderOptions, run};

use crate::corner::Corner;
use crate::given::{PAUSE, deployment, hash};
use crate::observe::event_count;
use crate::promptly::promptly;

const SOON: Duration = Duration::from_secs(20);
const META_INFO: &str = "reloader-meta-info";

async fn available(namespace: &Namespace, name: &str) -> Result<Option<i32>> {
    let api: Api<Deployment> = namespace.api();
    let found = api.get_opt(name).await?.and_then(|deployment| deployment.status);
    Ok(found.map(|status| status.available_replicas.unwrap_or_default()))
}

async fn meta_info(namespace: &Namespace) -> Result<ConfigMap> {
    let api: Api<ConfigMap> = namespace.api();
    api.get(META_INFO).await.context("cannot read what is published")
}

fn part(map: &ConfigMap, key: &str) -> Value {
    let text = &map.data.as_ref().unwrap()[key];
    serde_json::from_str(text).unwrap()
}

#[test]
fn case180_to_183_it_publishes_itself_and_leaves_that_behind() {
    run(|lab: Lab| async move {
        let namespace = lab.namespace("reloader").await?;
        let options = ReloaderOptions::annotations().arg("--reload-on-create=1").bare();
        let mut reloader = namespace.reloader(options).await?;
        let first = meta_info(&namespace).await?;
        let labels = first.metadata.labels.clone().unwrap_or_default();
        assert_eq!(labels["reloader.stakater.com/meta-info"], "reloader");
        assert!(first.metadata.owner_references.is_none());
        assert_eq!(
            part(&first, "deploymentInfo"),
            json!({"name": "reloader-reloader", "namespace": namespace.name()})
        );
        assert_eq!(part(&first, "buildInfo")["releaseVersion"], "v1.4.21");
        let options = part(&first, "reloaderOptions");
        assert_eq!(options.as_object().map(serde_json::Map::len), Some(34));
        assert_eq!(options["reloadStrategy"], "annotations");
        // A flag that has no effect is shown as one that has (124).
        assert_eq!(options["reloadOnCreate"], true);
        assert_eq!(options["namespacesToIgnore"], json!([]));

        let meddling = json!({"metadata": {"labels": {"ours": "too"}}, "data": {"ours": "too"}});
        let api: Api<ConfigMap> = namespace.api();
        let params = PatchParams::default();
        api.patch(META_INFO, &params, &Patch::Merge(meddling)).await?;
        reloader.start().await?;
        let again = meta_info(&namespace).await?;
        assert_eq!(again.metadata.uid, first.metadata.uid);
        assert_eq!(
            (&again.metadata.labels, &again.data),
            (&first.metadata.labels, &first.data)
        );
        reloader.kill().await?;
        let left = meta_info(&namespace).await?;
        assert_eq!(left.metadata.resource_version, again.metadata.resource_version);
        Ok(())
    });
}

#[test]
fn its_deployment_is_there_while_it_runs_and_what_it_published_afterwards_too() {
    run(|lab: Lab| async move {
        let namespace = lab.namespace("reloader").await?;
        let mut reloader = namespace.reloader(ReloaderOptions::default()).await?;
        let name = reloader.name().to_owned();
        assert_eq!(available(&namespace, &name).await?, Some(1));
        // What is dead looks well.
        reloader.kill().await?;
        assert_eq!(available(&namespace, &name).await?, Some(1));
        reloader.stop().await?;
        assert_eq!(available(&namespace, &name).await?, Some(0));
        reloader.start().await?;
        assert_eq!(available(&namespace, &name).await?, Some(1));
        reloader.uninstall().await?;
        assert_eq!(available(&namespace, &name).await?, None);
        assert_eq!(
            part(&meta_info(&namespace).await?, "deploymentInfo")["name"],
            name.as_str()
        );
        Ok(())
    });
}

#[test]
fn what_it_cannot_begin_with_ends_it_at_once() {
    run(|lab: Lab| async move {
        for (number, arguments) in [
            (139, &["--resources-to-ignore=secrets,configmaps"][..]),
            (148, &["--reload-strategy=foo"]),
            (165, &["--enable-ha=true"]),
        ] {
            let namespace = lab.namespace("reloader").await?;
            let options = ReloaderOptions::default().bare();
            let options = arguments
                .iter()
                .fold(options, |options, argument| options.arg(argument));
            let mut reloader = namespace.reloader(options).await?;
            let ended = promptly(format!("case {number} to end it"), SOON, async || reloader.exit());
            assert_eq!(ended.await?, 1, "case {number}");
        }
        Ok(())
    });
}

#[test]
fn case93_the_marks_of_one_strategy_stay_when_it_is_switched_to_the_other() {
    run(|lab: Lab| async move {
        let corner = Corner::new(&lab).await?;
        let reloader = corner
            .namespace
            .reloader(ReloaderOptions::default().bare())
            .await?;
        corner.change("p1").await?;
        corner.until_handled("p1").await?;
        let variable = corner.variable("web").await?;
        drop(reloader);
        let _reloader = corner
            .namespace
            .reloader(ReloaderOptions::annotations().bare())
            .await?;
        corner.change("p2").await?;
        let marked = promptly("the annotation", SOON, async || {
            let mark = corner.mark("web").await?;
            Ok(mark.filter(|mark| mark["hash"] == hash("password=p2;username=app_a")))
        });
        marked.await?;
        assert_eq!(
            (corner.variable("web").await?, corner.writes().await?),
            (variable, 2)
        );
        Ok(())
    });
}

#[test]
fn case161_and_162_a_retry_marks_again_what_was_marked_once_in_a_second() {
    run(|lab: Lab| async move {
        let corner = Corner::new(&lab).await?;
        corner
            .add(&deployment("z-bad").named("db").on(PAUSE, "5 minutes"))
            .await?;
        let _reloader = corner
            .namespace
            .reloader(ReloaderOptions::annotations().bare())
            .await?;
        corner.change("p1").await?;
        let told = promptly("six attempts", SOON, async || {
            Ok((event_count(&corner.namespace, "web").await? == 6).then_some(()))
        });
        told.await?;
        // The attempts take half a second, so they are in one second or in two.
        let writes = corner.writes().await?;
        assert!((1..=2).contains(&writes), "{writes} writes");
        assert_eq!(corner.mark("z-bad").await?, None);
        Ok(())
    });
}
