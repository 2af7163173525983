//! Rollouts of Argo: their definition is there, and nobody who does anything about them but Reloader.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, PostParams};
use serde_json::{Value, json};
use tandem_lab::{Lab, ReloaderOptions, run};

use crate::corner::Corner;
use crate::given::{LAST, hash, merge, web};
use crate::promptly::promptly;

const SOON: Duration = Duration::from_secs(20);
const HANDLED: &str = "--is-Argo-Rollouts=true";

/// A corner with a Rollout `web` beside the Deployment, with this in it besides.
async fn scene(lab: &Lab, more: Value) -> Result<(Corner, Api<DynamicObject>)> {
    lab.define_rollouts().await?;
    let corner = Corner::new(lab).await?;
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("argoproj.io", "v1alpha1", "Rollout"));
    let rollouts = Api::namespaced_with(corner.namespace.client(), corner.name(), &resource);
    let mut rollout = web().named("db").object();
    merge(
        &mut rollout,
        json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "spec": {"strategy": {"canary": {}}}}),
    );
    merge(&mut rollout, more);
    // What a merge sets to null is not there.
    if let Some(spec) = rollout["spec"].as_object_mut() {
        spec.retain(|_, part| !part.is_null());
    }
    let rollout: DynamicObject = serde_json::from_value(rollout)?;
    rollouts.create(&PostParams::default(), &rollout).await?;
    Ok((corner, rollouts))
}

async fn spec(rollouts: &Api<DynamicObject>) -> Result<Value> {
    let found = rollouts.get("web").await?;
    found.data.get("spec").cloned().context("no spec")
}

/// Waits until a part of the Rollout's spec is there and is not this.
async fn until_changed(rollouts: &Api<DynamicObject>, part: &str, old: &Value) -> Result<Value> {
    let changed = promptly(format!("{part} to change"), SOON, async || {
        let spec = spec(rollouts).await?;
        let found = spec.pointer(part).cloned().unwrap_or_default();
        ensure!(!found.is_null() && found != *old, "it is {found}");
        Ok(Some(found))
    });
    changed.await
}

#[test]
fn case174_a_rollout_is_put_with_the_variable_last() {
    run(|lab: Lab| async move {
        let (corner, rollouts) = scene(&lab, json!({})).await?;
        let options = ReloaderOptions::default().arg(HANDLED).bare();
        let _reloader = corner.namespace.reloader(options).await?;
        corner.change("p1").await?;
        let value = until_changed(&rollouts, "/template/spec/containers/0/env/1", &Value::Null);
        let hash = hash("password=p1;username=app_a");
        assert_eq!(value.await?, json!({"name": "STAKATER_DB_SECRET", "value": hash}));
        let managers = rollouts
            .get("web")
            .await?
            .metadata
            .managed_fields
            .unwrap_or_default();
        let ours = managers
            .iter()
            .find(|entry| entry.manager.as_deref() == Some("Reloader"));
        assert_eq!(ours.and_then(|entry| entry.operation.as_deref()), Some("Update"));
        Ok(())
    });
}

#[test]
fn case175_a_rollout_that_wants_it_is_only_restarted_with_each_change() {
    run(|lab: Lab| async move {
        let wants =
            json!({"metadata": {"annotations": {"reloader.stakater.com/rollout-strategy": "restart"}}});
        let (corner, rollouts) = scene(&lab, wants).await?;
        let before = spec(&rollouts).await?;
        let options = ReloaderOptions::annotations().arg(HANDLED).bare();
        let _reloader = corner.namespace.reloader(options).await?;
        corner.change("p1").await?;
        let first = until_changed(&rollouts, "/restartAt", &Value::Null).await?;
        // It is exact to the second.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        corner.change("p2").await?;
        until_changed(&rollouts, "/restartAt", &first).await?;
        let mut after = spec(&rollouts).await?;
        after["restartAt"].take();
        let mut expected = before;
        expected["restartAt"] = Value::Null;
        assert_eq!(after, expected);
        Ok(())
    });
}

#[test]
fn case176_a_rollout_with_another_ones_template_is_left_alone() {
    run(|lab: Lab| async move {
        let reference = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
        let more = json!({"spec": {"template": null, "workloadRef": reference}});
        let (corner, rollouts) = scene(&lab, more).await?;
        let before = spec(&rollouts).await?;
        let options = ReloaderOptions::default().arg(HANDLED).bare();
        let _reloader = corner.namespace.reloader(options).await?;
        // When the second change is handled, all of the first one is.
        for password in ["p1", "p2"] {
            corner.change(password).await?;
            corner.until_handled(password).await?;
        }
        assert_eq!(spec(&rollouts).await?, before);
        Ok(())
    });
}

#[test]
fn case177_a_rollout_gets_the_annotation() {
    run(|lab: Lab| async move {
        let (corner, rollouts) = scene(&lab, json!({})).await?;
        let options = ReloaderOptions::annotations().arg(HANDLED).bare();
        let _reloader = corner.namespace.reloader(options).await?;
        corner.change("p1").await?;
        let annotations = until_changed(&rollouts, "/template/metadata/annotations", &json!({})).await?;
        let mark: Value = serde_json::from_str(annotations[LAST].as_str().context("no mark")?)?;
        assert_eq!(mark["hash"], hash("password=p1;username=app_a"));
        Ok(())
    });
}

#[test]
fn case178_a_flag_that_only_looks_as_if_it_were_on_leaves_rollouts_alone() {
    run(|lab: Lab| async move {
        let (corner, rollouts) = scene(&lab, json!({})).await?;
        let before = spec(&rollouts).await?;
        let options = ReloaderOptions::default().arg("--is-Argo-Rollouts=1").bare();
        let _reloader = corner.namespace.reloader(options).await?;
        for password in ["p1", "p2"] {
            corner.change(password).await?;
            corner.until_handled(password).await?;
        }
        assert_eq!(spec(&rollouts).await?, before);
        let maps: Api<ConfigMap> = corner.namespace.api();
        let published = maps.get("reloader-meta-info").await?.data.unwrap_or_default();
        let options: Value = serde_json::from_str(&published["reloaderOptions"])?;
        assert_eq!(options["isArgoRollouts"], true);
        Ok(())
    });
}
