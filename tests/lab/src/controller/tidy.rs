//! What a controller leaves behind: policies that would keep their namespace from ever going, and the cluster busy with it.

use anyhow::{Context as _, Result};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams};

use crate::finalizers::take_off_finalizers;
use crate::lab::Lab;

/// Deletes the policies of a namespace.
pub(crate) async fn clean_up(lab: &Lab, namespace: &str) -> Result<()> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("tandem.dev", "v1alpha1", "RotationPolicy"));
    let policies: Api<DynamicObject> = Api::namespaced_with(lab.admin(), namespace, &resource);
    let all = ListParams::default();
    // First of all, since a controller that still runs would put its mark back on a policy that is to stay.
    match policies.delete_collection(&DeleteParams::default(), &all).await {
        Ok(_) => take_off_finalizers(&policies, &all).await,
        // No test has brought the definition yet.
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(error).context("cannot delete policies"),
    }
}
