//! Whether Reloader restarts a workload for a Secret. Pure, and in the order in which it asks.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::options::{EXCLUDE, Options};
use super::pattern::{compile, elements};
use crate::effects::kubernetes::uses::{in_environment, in_volume};

/// What Reloader does with one workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    /// It restarts it, by way of this container.
    Restarts {
        /// Name of the container.
        container: &'a str,
    },
    /// It leaves it alone.
    Leaves(Why),
}

/// Why Reloader leaves a workload alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The Secret says that it is to be ignored.
    Ignored,
    /// The workload says that this Secret is to be left out.
    Excluded,
    /// Nothing asks for it.
    NotAsked,
    /// It is asked for whatever the workload refers to, and that is not this Secret.
    Unreferenced,
}

/// What an instance with these options does with the workload when the Secret's data changes.
pub(super) fn verdict<'a>(
    options: &Options,
    secret: &ObjectMeta,
    workload: &ObjectMeta,
    template: &'a PodTemplateSpec,
) -> Verdict<'a> {
    let name = secret.name.as_deref().unwrap_or_default();
    if annotation(secret, &options.ignore) == Some("true") {
        return Verdict::Leaves(Why::Ignored);
    }
    // On the workload itself only, and names only.
    if annotation(workload, EXCLUDE).is_some_and(|list| elements(list).any(|element| element == name)) {
        return Verdict::Leaves(Why::Excluded);
    }
    let Some(asked) = asked(options, secret, source(options, workload, template)) else {
        return Verdict::Leaves(Why::NotAsked);
    };
    let spec = template.spec.as_ref();
    let container = spec.and_then(|spec| {
        let first = || spec.containers.first().filter(|_| asked == Asked::ByName);
        user(spec, name).or_else(first)
    });
    match container {
        Some(container) => Verdict::Restarts {
            container: &container.name,
        },
        None => Verdict::Leaves(Why::Unreferenced),
    }
}

/// How a restart is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// By the Secret's name, whether the workload refers to it or not.
    ByName,
    /// For whatever the workload refers to.
    ByReference,
}

/// The annotations that count: the workload's, or the pod template's when the workload has none of these. They are never
/// merged.
pub(super) fn source<'a>(
    options: &Options,
    workload: &'a ObjectMeta,
    template: &'a PodTemplateSpec,
) -> &'a BTreeMap<String, String> {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    let keys = [
        &options.named,
        &options.auto,
        &options.secret_auto,
        &options.search,
    ];
    let own = workload.annotations.as_ref().unwrap_or(&NONE);
    if keys.into_iter().any(|key| own.contains_key(key)) {
        return own;
    }
    let template = template.metadata.as_ref();
    template
        .and_then(|metadata| metadata.annotations.as_ref())
        .unwrap_or(&NONE)
}

fn asked(options: &Options, secret: &ObjectMeta, source: &BTreeMap<String, String>) -> Option<Asked> {
    let value = |key: &str| source.get(key).map_or("", String::as_str);
    let name = secret.name.as_deref().unwrap_or_default();
    let matches = |element| compile(element).is_some_and(|pattern| pattern.is_match(name.as_bytes()));
    if source
        .get(&options.named)
        .is_some_and(|list| elements(list).any(matches))
    {
        return Some(Asked::ByName);
    }
    let searched = value(&options.search) == "true" && annotation(secret, &options.matching) == Some("true");
    let (auto, secret_auto) = (value(&options.auto), value(&options.secret_auto));
    let silent = auto.is_empty() && secret_auto.is_empty();
    (searched || is_true(auto) || is_true(secret_auto) || (silent && options.all))
        .then_some(Asked::ByReference)
}

/// The container whose template Reloader changes for this Secret. For an init container it is the pod's first.
fn user<'a>(spec: &'a PodSpec, secret: &str) -> Option<&'a Container> {
    let inits = spec.init_containers.as_deref().unwrap_or_default();
    let first_for_init = |found: Option<&Container>| found.and_then(|_| spec.containers.first());
    // Only the first volume of the Secret is looked for, mounted or not.
    let volume = spec
        .volumes
        .iter()
        .flatten()
        .find(|volume| in_volume(volume, secret));
    let by_volume = volume.and_then(|volume| {
        let mounts = |container: &&Container| {
            let mut mounts = container.volume_mounts.iter().flatten();
            mounts.any(|mount| mount.name == volume.name)
        };
        let own = spec.containers.iter().find(mounts);
        own.or_else(|| first_for_init(inits.iter().find(mounts)))
    });
    let refers = |container: &&Container| in_environment(container, secret);
    by_volume
        .or_else(|| spec.containers.iter().find(refers))
        .or_else(|| first_for_init(inits.iter().find(refers)))
}

fn annotation<'a>(object: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    object.annotations.as_ref()?.get(key).map(String::as_str)
}

/// Go's `ParseBool`.
fn is_true(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True")
}
