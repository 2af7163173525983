//! What an operator leaves behind: objects in no namespace, and marks that only an operator would take off again.

use std::path::PathBuf;

use anyhow::Result;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::api::{Api, DeleteParams, ListParams};

use super::{FOR_NAMESPACE, resource};
use crate::finalizers::{forget, take_off_finalizers};
use crate::lab::Lab;

/// The directory of a namespace's operator.
pub(super) fn directory(lab: &Lab, namespace: &str) -> PathBuf {
    lab.home().join("eso").join(namespace)
}

/// Deletes what is in no namespace, and takes off the operator's finalizers, so that the namespace can go. Nothing
/// happens when it never had an operator.
pub(crate) async fn clean_up(lab: &Lab, namespace: &str) -> Result<()> {
    if !directory(lab, namespace).exists() {
        return Ok(());
    }
    let client = lab.admin();
    let ours = ListParams::default().labels(&format!("{FOR_NAMESPACE}={namespace}"));
    let now = DeleteParams::default();
    Api::<ClusterRoleBinding>::all(client.clone())
        .delete_collection(&now, &ours)
        .await?;
    Api::<ClusterRole>::all(client.clone())
        .delete_collection(&now, &ours)
        .await?;
    for kind in ["ClusterExternalSecret", "ClusterSecretStore"] {
        let api = Api::all_with(client.clone(), &resource("v1", kind));
        api.delete_collection(&now, &ours).await?;
        take_off_finalizers(&api, &ours).await?;
    }
    for (version, kind) in [
        ("v1", "ExternalSecret"),
        ("v1", "SecretStore"),
        ("v1alpha1", "PushSecret"),
    ] {
        let api = Api::namespaced_with(client.clone(), namespace, &resource(version, kind));
        take_off_finalizers(&api, &ListParams::default()).await?;
    }
    let namespaces: Api<Namespace> = Api::all(client);
    forget(&namespaces, namespace).await
}
