//! Who uses the credential, and which pods may still hold the old one. Reading is a thin shell; judging is a pure
//! function of what was read.
//!
//! Pods are judged, and not counters: a counter knows nothing of terminating pods, and a rollout that is held back by a
//! partition, by `OnDelete` or by a person counts as complete.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ContainerStateRunning, Pod, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::Cluster;
use super::argo::Rollout;
use super::failing::failing;
use super::obstacles::obstacle;
use super::owners::{Owner, Owners, Workload, name};
use super::reloader::Reloading;
use super::surge::surge;
use super::uses::uses;
use crate::api::restart_key;
use crate::effects::Error;
use crate::machine::facts::{Consumer, Finding, Restarter};
use crate::machine::listed;
use crate::policy::Policy;
use crate::policy::target::{ConsumerKind, ConsumerRef, Target};

/// The pods and workloads of a namespace.
#[derive(Clone, Debug, Default)]
pub struct Workloads {
    pub(super) namespace: String,
    pub(super) pods: Vec<Pod>,
    pub(super) deployments: Vec<Deployment>,
    pub(super) stateful_sets: Vec<StatefulSet>,
    pub(super) daemon_sets: Vec<DaemonSet>,
    pub(super) rollouts: Vec<Rollout>,
    pub(super) reloading: Reloading,
}

/// What one consumer consists of.
struct Group<'a> {
    owner: Owner<'a>,
    old: Vec<&'a Pod>,
    new: Vec<&'a Pod>,
}

impl Cluster {
    /// Reads the pods and workloads of the namespace: five lists.
    ///
    /// # Errors
    /// When the API server could not be asked, or does not allow it.
    pub async fn workloads(&self) -> Result<Workloads, Error> {
        // The pods first: of a pod that is there its workload is found afterwards, while a workload that was read
        // first could have got new pods since.
        let pods = self.list().await?;
        let deployments: Vec<Deployment> = self.list().await?;
        let stateful_sets = self.list().await?;
        let daemon_sets = self.list().await?;
        let rollouts = self.rollouts().await?.into_iter();
        Ok(Workloads {
            namespace: self.namespace.clone(),
            rollouts: rollouts
                .map(|rollout| rollout.with_template_of(&deployments))
                .collect(),
            pods,
            deployments,
            stateful_sets,
            daemon_sets,
            reloading: Reloading::default(),
        })
    }
}

impl Workloads {
    /// The same, with what is known of Reloader.
    #[must_use]
    pub fn beside(self, reloading: Reloading) -> Self {
        Self { reloading, ..self }
    }

    /// The consumers of a policy's Secret, and which of their pods may hold the credential from before the delivery.
    ///
    /// A pod is new when it was created after the delivery, or when it carries the delivery's mark, Tandem's or
    /// Reloader's: a marked template is younger than the delivery. Both times are the API server's and cut to the second, so within the second of
    /// the delivery only the mark tells. Without the time of the delivery only marked pods are new.
    #[must_use]
    pub fn judge(&self, policy: &Policy, mark: &str, delivered_at: Option<Timestamp>) -> Vec<Consumer> {
        self.judge_sparing(policy, mark, delivered_at, None)
    }

    /// The same in a roll-back: a pod that was created before the rotation which is taken back began holds the
    /// credential that is put back, and counts as new. Not so when a container of it has started since: that one has
    /// read the Secret anew. When it started is told by the node's clock; a rotation takes seconds from its beginning to
    /// the delivery, and nodes are expected to agree to that.
    #[must_use]
    pub fn judge_sparing(
        &self,
        policy: &Policy,
        mark: &str,
        delivered_at: Option<Timestamp>,
        spared_before: Option<Timestamp>,
    ) -> Vec<Consumer> {
        let key = restart_key(&policy.name);
        let marked = |metadata: Option<&ObjectMeta>, spec: Option<&PodSpec>| {
            let annotations = metadata.and_then(|metadata| metadata.annotations.as_ref());
            let own = annotations
                .and_then(|all| all.get(&key))
                .is_some_and(|value| value == mark);
            own || self.reloading.marks(metadata, spec)
        };
        self.groups(policy, |pod| {
            let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
            let younger = created
                .zip(delivered_at)
                .is_some_and(|(created, delivered)| created > delivered);
            let spared = created
                .zip(spared_before)
                .is_some_and(|(created, began)| created < began && !has_started_since(pod, began));
            younger || spared || marked(Some(&pod.metadata), pod.spec.as_ref())
        })
        .into_iter()
        .map(|(reference, group)| {
            let workload = group.owner.workload;
            let template = workload.map(Workload::template);
            let failing = failing(&reference, workload, &group.new);
            let returned = template.is_some_and(|template| {
                self.reloading
                    .may_mark(template.metadata.as_ref(), template.spec.as_ref())
            });
            // Where the rotation that is taken back did not get so far, Reloader's mark is there from before. Pods that
            // started meanwhile carry it too; Reloader sees nothing to do, and leaves them.
            let is_left_over = |pod: &&Pod| self.reloading.may_mark(Some(&pod.metadata), pod.spec.as_ref());
            let left_over = returned && group.old.iter().any(is_left_over);
            Consumer {
                uid: group.owner.uid.clone(),
                marked: template
                    .is_some_and(|template| marked(template.metadata.as_ref(), template.spec.as_ref()))
                    || (returned && !left_over)
                    || matches!(workload, Some(Workload::Rollout(rollout)) if rollout.is_restarted(delivered_at))
                    || workload.is_some_and(|workload| self.reloading.is_overwritten(workload, delivered_at)),
                reverted: false,
                restarter: workload
                    .filter(|_| !left_over)
                    .map_or(Restarter::Tandem, |workload| self.reloading.restarter(workload)),
                old_pods: group
                    .old
                    .iter()
                    .map(|pod| name(&pod.metadata).to_owned())
                    .collect(),
                ready: u32::try_from(group.new.iter().filter(|pod| is_ready(pod)).count())
                    .unwrap_or(u32::MAX),
                obstacle: (!group.old.is_empty() || failing.is_some())
                    .then(|| {
                        let paused = workload.and_then(|w| self.reloading.paused(&self.namespace, w));
                        paused.or_else(|| {
                            obstacle(&self.namespace, &reference, workload, &group.old, &group.new)
                        })
                    })
                    .flatten(),
                failing,
                surge: group.owner.workload.map_or(0, surge),
                reference,
            }
        })
        .collect()
    }

    /// What a person should know before a rotation: targets that are not there, and pods that nobody restarts.
    #[must_use]
    pub fn findings(&self, policy: &Policy) -> Vec<Finding> {
        let namespace = &self.namespace;
        let mut findings = Vec::new();
        for target in &policy.restart.targets {
            let (kind, what) = match target {
                Target::Named(kind, name) => (*kind, name.clone()),
                Target::Labelled(kind, labels) => {
                    let list: Vec<_> = labels
                        .iter()
                        .map(|(key, value)| format!("{key}={value}"))
                        .collect();
                    (*kind, format!("-l {}", list.join(",")))
                }
            };
            if !self.all().any(|workload| is_target(target, workload)) {
                let kind = ConsumerKind::Workload(kind).as_str().to_lowercase();
                findings.push(warning("TargetMissing", format!(
                    "spec.restart.targets names {kind} {what}, and namespace {namespace} has none such; see: kubectl -n {namespace} get {kind}"
                )));
            }
        }
        let unmanaged: Vec<_> = self
            .groups(policy, |_| false)
            .into_keys()
            .filter(|reference| !matches!(reference.kind, ConsumerKind::Workload(_)))
            .map(|reference| reference.to_string())
            .collect();
        if !unmanaged.is_empty() {
            findings.push(warning("UnmanagedConsumers", format!(
                "{} in namespace {namespace} use Secret {} and are restarted by nobody: a rotation waits until they end, or are deleted",
                listed(unmanaged), policy.delivery.target.secret
            )));
        }
        findings
    }

    /// The pod behind a client's address, with its workload: for people. Empty when there is none.
    #[must_use]
    pub fn locate(&self, address: &str) -> String {
        let has = |pod: &&Pod| {
            let status = pod.status.as_ref();
            let all = status
                .into_iter()
                .flat_map(|s| s.pod_ips.iter().flatten().map(|ip| ip.ip.as_str()));
            status
                .and_then(|s| s.pod_ip.as_deref())
                .into_iter()
                .chain(all)
                .any(|ip| ip == address)
        };
        let on_host = |pod: &Pod| {
            pod.spec
                .as_ref()
                .is_some_and(|spec| spec.host_network == Some(true))
        };
        let mut there = self.pods.iter().filter(|pod| is_alive(pod)).filter(has);
        let Some(pod) = there.next() else {
            return String::new();
        };
        let node = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.node_name.as_deref())
            .unwrap_or_default();
        if on_host(pod) {
            // The node's own address, which all pods in its network share.
            return format!("node {node}");
        }
        let owner = Owners::of(self.all()).of_pod(pod).reference;
        let pod = name(&pod.metadata);
        if owner.kind == ConsumerKind::Pod {
            format!("pod {pod}")
        } else {
            format!("pod {pod} of {owner}")
        }
    }

    /// The consumers with their pods, each judged new or old.
    fn groups<'a>(
        &'a self,
        policy: &Policy,
        is_new: impl Fn(&Pod) -> bool,
    ) -> BTreeMap<ConsumerRef, Group<'a>> {
        let secret = policy.delivery.target.secret.as_str();
        let targets: BTreeSet<ConsumerRef> = self
            .all()
            .filter(|workload| {
                let targets = &policy.restart.targets;
                targets.iter().any(|target| is_target(target, *workload)) || self.reloading.names(*workload)
            })
            .map(|workload| Owner::from(workload).reference)
            .collect();
        let owners = Owners::of(self.all());
        let mut groups: BTreeMap<ConsumerRef, Group<'a>> = BTreeMap::new();
        for workload in self.all() {
            let owner = Owner::from(workload);
            let spec = workload.template().spec.as_ref();
            if targets.contains(&owner.reference) || spec.is_some_and(|spec| uses(spec, secret)) {
                groups.insert(owner.reference.clone(), Group::of(owner));
            }
        }
        for pod in self.pods.iter().filter(|pod| is_alive(pod)) {
            let owner = owners.of_pod(pod);
            if !targets.contains(&owner.reference)
                && !pod.spec.as_ref().is_some_and(|spec| uses(spec, secret))
            {
                continue;
            }
            let reference = owner.reference.clone();
            let group = groups.entry(reference).or_insert_with(|| Group::of(owner));
            if is_new(pod) {
                group.new.push(pod);
            } else {
                group.old.push(pod);
            }
        }
        groups
    }

    /// The workload that a consumer is; none of a Job or a Pod.
    pub(super) fn of(&self, consumer: &ConsumerRef) -> Option<Workload<'_>> {
        let named = |workload: &Workload<'_>| {
            consumer.kind == ConsumerKind::Workload(workload.kind())
                && name(workload.metadata()) == consumer.name
        };
        self.all().find(named)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Workload<'_>> {
        let deployments = self.deployments.iter().map(Workload::Deployment);
        let stateful_sets = self.stateful_sets.iter().map(Workload::StatefulSet);
        deployments
            .chain(stateful_sets)
            .chain(self.daemon_sets.iter().map(Workload::DaemonSet))
            .chain(self.rollouts.iter().map(Workload::Rollout))
    }
}

impl<'a> Group<'a> {
    fn of(owner: Owner<'a>) -> Self {
        Self {
            owner,
            old: Vec::new(),
            new: Vec::new(),
        }
    }
}

fn is_target(target: &Target, workload: Workload<'_>) -> bool {
    match target {
        Target::Named(kind, called) => workload.kind() == *kind && name(workload.metadata()) == called,
        Target::Labelled(kind, labels) => {
            let has = |key: &String, value: &String| {
                workload.metadata().labels.as_ref().and_then(|l| l.get(key)) == Some(value)
            };
            workload.kind() == *kind && labels.iter().all(|(key, value)| has(key, value))
        }
    }
}

/// Whether a process of the pod may still run, or start. A pod that has finished holds nothing, unless what it says
/// about itself is older than what its containers say.
fn is_alive(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return true };
    let finished = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    !finished || running(status).next().is_some()
}

/// Whether a process of the pod was started at that time or later.
fn has_started_since(pod: &Pod, time: Timestamp) -> bool {
    let started = |running: &ContainerStateRunning| running.started_at.as_ref().map(|at| at.0);
    pod.status
        .iter()
        .flat_map(running)
        .any(|running| started(running).is_none_or(|at| at >= time))
}

/// The processes of a pod that run.
fn running(status: &PodStatus) -> impl Iterator<Item = &ContainerStateRunning> {
    [
        &status.init_container_statuses,
        &status.container_statuses,
        &status.ephemeral_container_statuses,
    ]
    .into_iter()
    .flat_map(|list| list.iter().flatten())
    .filter_map(|container| container.state.as_ref()?.running.as_ref())
}

/// Whether the pod's own condition says that it is ready, and it is to stay.
pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    pod.metadata.deletion_timestamp.is_none()
        && conditions
            .into_iter()
            .any(|c| c.type_ == "Ready" && c.status == "True")
}

fn warning(reason: &'static str, message: String) -> Finding {
    Finding {
        blocks: false,
        reason,
        message,
    }
}

#[cfg(test)]
mod tests;
