//! Marks on objects that only a controller would take off, and that controller has ended with its test.

use anyhow::{Context as _, Result};
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::json;

/// Takes them off all of these objects.
pub(crate) async fn take_off_finalizers(api: &Api<DynamicObject>, which: &ListParams) -> Result<()> {
    for object in api.list(which).await?.items {
        if !object.metadata.finalizers.unwrap_or_default().is_empty() {
            forget(api, &object.metadata.name.context("an object without a name")?).await?;
        }
    }
    Ok(())
}

/// Takes them off one object, if it is there.
pub(crate) async fn forget<K>(api: &Api<K>, name: &str) -> Result<()>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    match api.patch(name, &PatchParams::default(), &patch).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot take the finalizers off {name}")),
    }
}
