//! Manifests that are generated, never written by hand: the custom resource definition and the Role of a policy.

pub mod iam;
pub mod rbac;

use kube::CustomResourceExt;

use crate::api::RotationPolicy;

/// The custom resource definition as YAML.
///
/// # Errors
/// When it cannot be written as YAML.
pub fn crd() -> anyhow::Result<String> {
    yaml(&RotationPolicy::crd())
}

/// One YAML document.
fn yaml<T: serde::Serialize>(value: &T) -> anyhow::Result<String> {
    // By way of JSON: what is absent there stays absent here.
    Ok(serde_saphyr::to_string(&serde_json::to_value(value)?)?)
}
