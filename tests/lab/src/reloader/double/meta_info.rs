//! What Reloader publishes of itself: once, at the beginning, before anything shows that it can work.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ObjectMeta, PostParams};
use serde_json::{Value, json};

use super::{FIELD_MANAGER, Program};

const NAME: &str = "reloader-meta-info";
const LABEL: &str = "reloader.stakater.com/meta-info";

/// Replaces the whole `ConfigMap`, whatever was in it. Nobody ever deletes it.
pub(super) async fn publish(program: &Program) {
    program.pass().await;
    let Some(namespace) = program.variable("RELOADER_NAMESPACE") else {
        program
            .log
            .say("RELOADER_NAMESPACE is not set, so nothing is published");
        return;
    };
    let deployment = match program.variable("RELOADER_DEPLOYMENT_NAME") {
        Some(name) => json!({"name": name, "namespace": namespace}),
        None => json!({"namespace": namespace}),
    };
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some([(LABEL.to_owned(), "reloader".to_owned())].into()),
            ..ObjectMeta::default()
        },
        data: Some(
            [
                ("buildInfo", build()),
                ("deploymentInfo", deployment),
                ("reloaderOptions", options(program)),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_string()))
            .into(),
        ),
        ..ConfigMap::default()
    };
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let api: Api<ConfigMap> = Api::namespaced(program.client.clone(), namespace);
    let written = match api.create(&params, &map).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => api.replace(NAME, &params, &map).await,
        outcome => outcome,
    };
    if let Err(error) = written {
        program.log.say(&format!("cannot publish {NAME}: {error}"));
    }
}

fn build() -> Value {
    json!({
        "goVersion": "go1.26.8",
        "releaseVersion": "v1.4.21",
        "commitHash": "392be733e05b",
        "commitTime": "2026-08-10T05:00:00Z",
        "edition": "oss",
    })
}

/// As the flags were given, which is not always what is in force. Which namespaces it is for is not among them.
fn options(program: &Program) -> Value {
    let flags = &program.flags;
    // Everything but an explicit «no» is shown as a «yes», even where only `true` has an effect.
    let shown = |text: &str| matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True");
    json!({
        "autoReloadAll": flags.auto_reload_all,
        "configmapUpdateOnChangeAnnotation": flags.configmap_annotation,
        "secretUpdateOnChangeAnnotation": flags.secret_annotation,
        "secretProviderClassUpdateOnChangeAnnotation": "secretproviderclass.reloader.stakater.com/reload",
        "reloaderAutoAnnotation": flags.auto_annotation,
        "ignoreResourceAnnotation": flags.ignore_annotation,
        "configmapReloaderAutoAnnotation": flags.configmap_auto_annotation,
        "secretReloaderAutoAnnotation": flags.secret_auto_annotation,
        "secretProviderClassReloaderAutoAnnotation": "secretproviderclass.reloader.stakater.com/auto",
        "configmapExcludeReloaderAnnotation": "configmaps.exclude.reloader.stakater.com/reload",
        "secretExcludeReloaderAnnotation": "secrets.exclude.reloader.stakater.com/reload",
        "secretProviderClassExcludeReloaderAnnotation": "secretproviderclasses.exclude.reloader.stakater.com/reload",
        "autoSearchAnnotation": flags.auto_search_annotation,
        "searchMatchAnnotation": flags.search_match_annotation,
        "rolloutStrategyAnnotation": "reloader.stakater.com/rollout-strategy",
        "pauseDeploymentAnnotation": flags.pause_deployment_annotation,
        "pauseDeploymentTimeAnnotation": flags.pause_deployment_time_annotation,
        "logFormat": flags.log_format,
        "logLevel": flags.log_level,
        "isArgoRollouts": shown(&flags.is_argo_rollouts),
        "reloadStrategy": flags.reload_strategy,
        "reloadOnCreate": shown(&flags.reload_on_create),
        "reloadOnDelete": shown(&flags.reload_on_delete),
        "syncAfterRestart": flags.sync_after_restart,
        "enableHA": flags.enable_ha,
        "enableCSIIntegration": false,
        "webhookUrl": flags.webhook_url,
        "resourcesToIgnore": flags.resources_to_ignore,
        "workloadTypesToIgnore": flags.ignored_workload_types,
        "namespaceSelectors": flags.namespace_selector,
        "resourceSelectors": flags.resource_label_selector,
        "namespacesToIgnore": flags.namespaces_to_ignore,
        "enablePProf": false,
        "pprofAddr": ":6060",
    })
}
