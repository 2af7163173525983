//! What cannot be changed is made anew, and so runs at once.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, DynamicObject, ObjectMeta, PostParams, PropagationPolicy};
use serde_json::{Value, json};

use super::FIELD_MANAGER;
use super::workload::{Clients, Kind, Workload};

/// The labels by which a Job's pods are found. The new Job gets its own; in its metadata the old ones stay.
const OF_ITS_PODS: [&str; 4] = [
    "controller-uid",
    "batch.kubernetes.io/controller-uid",
    "job-name",
    "batch.kubernetes.io/job-name",
];

/// Makes a Job of a `CronJob`, as `kubectl create job --from` does.
pub(super) async fn instantiate(clients: &mut Clients, cron_job: &Workload) -> kube::Result<()> {
    let template = cron_job.object.data.pointer("/spec/jobTemplate");
    let part = |path: &str| template.and_then(|template| template.pointer(path)).cloned();
    let mut annotations = part("/metadata/annotations").unwrap_or_else(|| json!({}));
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.insert("cronjob.kubernetes.io/instantiate".to_owned(), "manual".into());
    }
    let owner = OwnerReference {
        api_version: "batch/v1".to_owned(),
        kind: "CronJob".to_owned(),
        name: cron_job.name().to_owned(),
        uid: cron_job.object.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    let job = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "generateName": format!("{}-", cron_job.name()),
            "namespace": cron_job.namespace(),
            "annotations": annotations,
            "labels": part("/metadata/labels"),
            "ownerReferences": [owner],
        },
        "spec": part("/spec"),
    });
    create(clients, cron_job.namespace(), job).await
}

/// Deletes a Job and makes one of the same name and, but for its template, the same spec. It runs again, even if it had
/// done its work.
pub(super) async fn make_again(clients: &mut Clients, job: &Workload) -> kube::Result<()> {
    let jobs = clients.api(Kind::Job, job.namespace()).await;
    let in_background = DeleteParams {
        propagation_policy: Some(PropagationPolicy::Background),
        ..DeleteParams::default()
    };
    jobs.delete(job.name(), &in_background).await?;
    let mut object = job.object.clone();
    let old = object.metadata;
    object.metadata = ObjectMeta {
        name: old.name,
        namespace: old.namespace,
        annotations: old.annotations,
        labels: old.labels,
        owner_references: old.owner_references,
        generate_name: old.generate_name,
        ..ObjectMeta::default()
    };
    if let Some(fields) = object.data.as_object_mut() {
        fields.remove("status");
    }
    if let Some(spec) = object.data.pointer_mut("/spec").and_then(Value::as_object_mut) {
        spec.remove("selector");
    }
    let labels = object.data.pointer_mut("/spec/template/metadata/labels");
    if let Some(labels) = labels.and_then(Value::as_object_mut) {
        labels.retain(|label, _| !OF_ITS_PODS.contains(&label.as_str()));
    }
    create(clients, job.namespace(), json!(object)).await
}

async fn create(clients: &mut Clients, namespace: &str, job: Value) -> kube::Result<()> {
    let job: DynamicObject = serde_json::from_value(job).map_err(kube::Error::SerdeError)?;
    let params = PostParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    clients
        .api(Kind::Job, namespace)
        .await
        .create(&params, &job)
        .await?;
    Ok(())
}
