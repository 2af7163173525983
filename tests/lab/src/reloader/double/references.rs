//! Which container stands for a workload's use of an object.

use k8s_openapi::api::core::v1::{Container, PodSpec, Volume};

use super::subject::{Resource, Subject};

/// The container that gets the mark, or none when nothing refers to the object.
///
/// A volume wins over the environment, and only the first volume of the object counts, even when nobody mounts it. What
/// an init container uses is marked on the first container.
pub(super) fn container<'a>(spec: &'a PodSpec, subject: &Subject) -> Option<&'a str> {
    let first = spec.containers.first();
    let init = spec.init_containers.as_deref().unwrap_or_default();
    let volumes = spec.volumes.iter().flatten();
    let mut volumes = volumes.filter(|volume| is_of(volume, subject));
    let volume = volumes.next().map(|volume| volume.name.as_str());
    let by_volume = volume.and_then(|volume| {
        let user = spec.containers.iter().find(|container| mounts(container, volume));
        user.or_else(|| first.filter(|_| init.iter().any(|container| mounts(container, volume))))
    });
    let chosen = by_volume
        .or_else(|| spec.containers.iter().find(|container| reads(container, subject)))
        .or_else(|| first.filter(|_| init.iter().any(|container| reads(container, subject))));
    chosen.map(|container| container.name.as_str())
}

fn is_of(volume: &Volume, subject: &Subject) -> bool {
    let projected = volume.projected.iter();
    let mut projected = projected.flat_map(|volume| volume.sources.iter().flatten());
    let name = &subject.name;
    match subject.resource {
        Resource::Secret => {
            let plain = volume.secret.as_ref();
            plain.is_some_and(|source| source.secret_name.as_ref() == Some(name))
                || projected.any(|part| part.secret.as_ref().is_some_and(|source| source.name == *name))
        }
        Resource::ConfigMap => {
            let plain = volume.config_map.as_ref();
            plain.is_some_and(|source| source.name == *name)
                || projected.any(|part| {
                    part.config_map
                        .as_ref()
                        .is_some_and(|source| source.name == *name)
                })
        }
    }
}

fn mounts(container: &Container, volume: &str) -> bool {
    let mut mounts = container.volume_mounts.iter().flatten();
    mounts.any(|mount| mount.name == volume)
}

fn reads(container: &Container, subject: &Subject) -> bool {
    let name = &subject.name;
    let mut variables = container
        .env
        .iter()
        .flatten()
        .filter_map(|variable| variable.value_from.as_ref());
    let mut whole = container.env_from.iter().flatten();
    match subject.resource {
        Resource::Secret => {
            variables.any(|from| from.secret_key_ref.as_ref().is_some_and(|key| key.name == *name))
                || whole.any(|from| {
                    from.secret_ref
                        .as_ref()
                        .is_some_and(|source| source.name == *name)
                })
        }
        Resource::ConfigMap => {
            variables.any(|from| {
                from.config_map_key_ref
                    .as_ref()
                    .is_some_and(|key| key.name == *name)
            }) || whole.any(|from| {
                from.config_map_ref
                    .as_ref()
                    .is_some_and(|source| source.name == *name)
            })
        }
    }
}
