//! Which workload a pod belongs to.

use std::collections::HashMap;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::argo::Rollout;
use crate::api::spec::TargetKind;
use crate::policy::target::{ConsumerKind, ConsumerRef};

/// Labels by which a Deployment and a Rollout tell their `ReplicaSets` apart.
const TEMPLATE_HASHES: [(TargetKind, &str); 2] = [
    (TargetKind::Deployment, "pod-template-hash"),
    (TargetKind::Rollout, "rollouts-pod-template-hash"),
];

/// A workload of any kind that can be restarted.
#[derive(Clone, Copy)]
pub(super) enum Workload<'a> {
    Deployment(&'a Deployment),
    StatefulSet(&'a StatefulSet),
    DaemonSet(&'a DaemonSet),
    Rollout(&'a Rollout),
}

/// The consumer that a pod belongs to; the pod itself when nothing above it is known.
#[derive(Clone)]
pub(super) struct Owner<'a> {
    pub(super) reference: ConsumerRef,
    pub(super) uid: String,
    pub(super) workload: Option<Workload<'a>>,
}

/// All workloads, to be found by what a pod says of its owner.
pub(super) struct Owners<'a>(HashMap<(TargetKind, &'a str), Workload<'a>>);

impl<'a> Owners<'a> {
    pub(super) fn of(all: impl Iterator<Item = Workload<'a>>) -> Self {
        Self(
            all.map(|workload| ((workload.kind(), name(workload.metadata())), workload))
                .collect(),
        )
    }

    pub(super) fn of_pod(&self, pod: &Pod) -> Owner<'a> {
        let controller = controller(pod);
        let workload = controller.and_then(|owner| self.workload(pod, owner));
        if let Some(workload) = workload {
            return workload.into();
        }
        if let Some(job) = controller.filter(|owner| group(owner) == "batch" && owner.kind == "Job") {
            return Owner::without_workload(ConsumerKind::Job, &job.name, &job.uid);
        }
        Owner::without_workload(ConsumerKind::Pod, name(&pod.metadata), uid(&pod.metadata))
    }

    /// Kinds are told apart by their group too: others have a `StatefulSet` of their own.
    fn workload(&self, pod: &Pod, owner: &OwnerReference) -> Option<Workload<'a>> {
        let direct = |kind| {
            let found = self.0.get(&(kind, owner.name.as_str())).copied();
            // An owner of the same name that was made anew is another one, until it has adopted the pod.
            found.filter(|workload| uid(workload.metadata()) == owner.uid)
        };
        match (group(owner), owner.kind.as_str()) {
            ("apps", "ReplicaSet") => {
                // They call their ReplicaSets by their own name and the template's hash, which saves listing them.
                let labels = pod.metadata.labels.as_ref()?;
                TEMPLATE_HASHES.into_iter().find_map(|(kind, label)| {
                    let hash = labels.get(label)?;
                    let workload = owner.name.strip_suffix(hash.as_str())?.strip_suffix('-')?;
                    self.0.get(&(kind, workload)).copied()
                })
            }
            ("apps", "StatefulSet") => direct(TargetKind::StatefulSet),
            ("apps", "DaemonSet") => direct(TargetKind::DaemonSet),
            _ => None,
        }
    }
}

impl Owner<'_> {
    fn without_workload(kind: ConsumerKind, name: &str, uid: &str) -> Self {
        Self {
            reference: ConsumerRef {
                kind,
                name: name.to_owned(),
            },
            uid: uid.to_owned(),
            workload: None,
        }
    }
}

impl<'a> From<Workload<'a>> for Owner<'a> {
    fn from(workload: Workload<'a>) -> Self {
        let kind = ConsumerKind::Workload(workload.kind());
        let metadata = workload.metadata();
        Self {
            workload: Some(workload),
            ..Self::without_workload(kind, name(metadata), uid(metadata))
        }
    }
}

impl<'a> Workload<'a> {
    pub(super) fn metadata(self) -> &'a ObjectMeta {
        match self {
            Self::Deployment(workload) => &workload.metadata,
            Self::StatefulSet(workload) => &workload.metadata,
            Self::DaemonSet(workload) => &workload.metadata,
            Self::Rollout(workload) => &workload.metadata,
        }
    }

    pub(super) fn template(self) -> &'a PodTemplateSpec {
        match self {
            Self::Deployment(workload) => &workload.spec.template,
            Self::StatefulSet(workload) => &workload.spec.template,
            Self::DaemonSet(workload) => &workload.spec.template,
            Self::Rollout(workload) => &workload.spec.template,
        }
    }

    pub(super) fn kind(self) -> TargetKind {
        match self {
            Self::Deployment(_) => TargetKind::Deployment,
            Self::StatefulSet(_) => TargetKind::StatefulSet,
            Self::DaemonSet(_) => TargetKind::DaemonSet,
            Self::Rollout(_) => TargetKind::Rollout,
        }
    }
}

/// The one owner that makes and replaces the pod.
pub(super) fn controller(pod: &Pod) -> Option<&OwnerReference> {
    let mut owners = pod.metadata.owner_references.iter().flatten();
    owners.find(|owner| owner.controller == Some(true))
}

/// Name of an object.
pub(super) fn name(metadata: &ObjectMeta) -> &str {
    metadata.name.as_deref().unwrap_or_default()
}

/// Uid of an object.
pub(super) fn uid(metadata: &ObjectMeta) -> &str {
    metadata.uid.as_deref().unwrap_or_default()
}

fn group(owner: &OwnerReference) -> &str {
    owner.api_version.split_once('/').map_or("", |(group, _)| group)
}
