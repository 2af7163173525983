//! What is generated, never written by hand: the custom resource definition, and the rights that policies need in the
//! cluster, in AWS and in the database.

pub mod iam;
pub mod rbac;
pub mod sql;

use anyhow::Context as _;
use kube::CustomResourceExt;

use crate::api::RotationPolicy;
use crate::policy::Policy;

/// The custom resource definition as YAML.
///
/// # Errors
/// When it cannot be written as YAML.
pub fn crd() -> anyhow::Result<String> {
    yaml(&RotationPolicy::crd())
}

/// The policies in a YAML stream.
fn policies(text: &str) -> anyhow::Result<Vec<Policy>> {
    let objects: Vec<RotationPolicy> = serde_saphyr::from_multiple(text)
        .context("failed to read the policies: every document must be a RotationPolicy")?;
    anyhow::ensure!(!objects.is_empty(), "there is no RotationPolicy in it");
    let parse = |object: &RotationPolicy| {
        Policy::parse(object).with_context(|| format!("policy {:?}", object.metadata.name))
    };
    objects.iter().map(parse).collect()
}

/// One YAML document.
fn yaml<T: serde::Serialize>(value: &T) -> anyhow::Result<String> {
    // By way of JSON: what is absent there stays absent here.
    Ok(serde_saphyr::to_string(&serde_json::to_value(value)?)?)
}
