//! Why a rollout does not go on, in the workload's and the pods' own words, with the command that mends it.
//!
//! Only words of Kubernetes itself are repeated. What a container said when it ended is the application's, and may be
//! a connection string.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::consumers::{Workload, is_ready, name};
use crate::policy::target::{ConsumerKind, ConsumerRef};

/// Reasons for which a container waits whose messages come from the kubelet alone.
const TELLING: [&str; 5] = [
    "CreateContainerConfigError",
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
];
/// Reasons for which a container waits in an ordinary start.
const ORDINARY: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// The cause that explains most, the others being its consequences.
pub(super) fn obstacle(
    namespace: &str,
    consumer: &ConsumerRef,
    workload: Option<Workload<'_>>,
    old: &[&Pod],
    new: &[&Pod],
) -> Option<String> {
    let names: Vec<_> = old.iter().map(|pod| name(&pod.metadata)).collect();
    let delete = || format!("kubectl -n {namespace} delete pod {}", names.join(" "));
    held_back(namespace, consumer, workload, &delete)
        .or_else(|| new.iter().find_map(|pod| trouble(pod)))
        .or_else(|| failing(workload))
        .or_else(|| old.iter().find_map(|pod| terminating(pod)))
        .or_else(|| old.iter().find_map(|pod| trouble(pod)))
        .or_else(|| overdue(workload))
        .or_else(|| unmanaged(consumer, old, &delete))
}

/// The workload was told not to replace its pods.
fn held_back(
    namespace: &str,
    consumer: &ConsumerRef,
    workload: Option<Workload<'_>>,
    delete: &impl Fn() -> String,
) -> Option<String> {
    match workload? {
        Workload::Deployment(deployment) => deployment
            .spec
            .paused
            .unwrap_or_default()
            .then(|| format!("paused; go on with: kubectl -n {namespace} rollout resume {consumer}")),
        Workload::StatefulSet(set) => {
            let strategy = set.spec.update_strategy.as_ref()?;
            if strategy.type_.as_deref() == Some("OnDelete") {
                return Some(format!(
                    "updateStrategy OnDelete; replace its pods with: {}",
                    delete()
                ));
            }
            let partition = strategy
                .rolling_update
                .as_ref()?
                .partition
                .filter(|from| *from > 0)?;
            Some(format!(
                "updateStrategy keeps pods below the partition {partition}; replace them with: {}",
                delete()
            ))
        }
        Workload::DaemonSet(set) => {
            let strategy = set.spec.update_strategy.as_ref()?;
            (strategy.type_.as_deref() == Some("OnDelete"))
                .then(|| format!("updateStrategy OnDelete; replace its pods with: {}", delete()))
        }
    }
}

/// A pod does not come up.
fn trouble(pod: &Pod) -> Option<String> {
    if is_ready(pod) {
        return None;
    }
    let status = pod.status.as_ref()?;
    let pod = name(&pod.metadata);
    let unscheduled = status
        .conditions
        .iter()
        .flatten()
        .find(|c| c.type_ == "PodScheduled" && c.status == "False");
    if let Some(condition) = unscheduled {
        let (reason, message) = (condition.reason.as_deref(), condition.message.as_deref());
        return Some(format!(
            "pod {pod}: {}: {}",
            reason.unwrap_or("Unschedulable"),
            message.unwrap_or_default()
        ));
    }
    let containers = status
        .init_container_statuses
        .iter()
        .flatten()
        .chain(status.container_statuses.iter().flatten());
    containers
        .into_iter()
        .find_map(waiting)
        .map(|why| format!("pod {pod}: {why}"))
}

fn waiting(container: &ContainerStatus) -> Option<String> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting
        .reason
        .as_deref()
        .filter(|reason| !ORDINARY.contains(reason))?;
    let said = waiting.message.as_deref().filter(|_| TELLING.contains(&reason));
    let said = said.map(|message| format!(": {message}")).unwrap_or_default();
    let ended = container
        .last_state
        .as_ref()
        .and_then(|state| state.terminated.as_ref());
    let ended = ended.map(|ended| {
        let (code, restarts) = (ended.exit_code, container.restart_count);
        format!(", exited with {code} after {restarts} restarts")
    });
    let ended = ended.unwrap_or_default();
    Some(format!(
        "container {} waits: {reason}{said}{ended}",
        container.name
    ))
}

/// The workload's controller cannot make pods, for want of quota for example.
fn failing(workload: Option<Workload<'_>>) -> Option<String> {
    condition(workload?, "ReplicaFailure", "True")
}

/// The workload's controller has given up waiting; the cause is elsewhere.
fn overdue(workload: Option<Workload<'_>>) -> Option<String> {
    condition(workload?, "Progressing", "False")
}

/// Only Deployments speak of themselves: the controllers of the others set no conditions.
fn condition(workload: Workload<'_>, kind: &str, holds: &str) -> Option<String> {
    let Workload::Deployment(deployment) = workload else {
        return None;
    };
    let mut all = deployment.status.as_ref()?.conditions.iter().flatten();
    let found = all.find(|c| c.type_.as_deref() == Some(kind) && c.status.as_deref() == Some(holds))?;
    let (reason, message) = (found.reason.as_deref(), found.message.as_deref());
    Some(format!(
        "{}: {}",
        reason.unwrap_or(kind),
        message.unwrap_or_default()
    ))
}

fn terminating(pod: &Pod) -> Option<String> {
    let since = pod.metadata.deletion_timestamp.as_ref()?.0;
    // The timestamp is when the grace period ends.
    let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or_default();
    let node = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.node_name.as_deref())
        .unwrap_or_default();
    Some(format!(
        "pod {} on node {node} has {grace} s until {since} to end",
        name(&pod.metadata)
    ))
}

/// Nothing replaces the pod by itself.
fn unmanaged(consumer: &ConsumerRef, old: &[&Pod], delete: &impl Fn() -> String) -> Option<String> {
    match consumer.kind {
        ConsumerKind::Workload(_) => None,
        ConsumerKind::Job => {
            Some("a running Job is never stopped; it is waited for until it ends".to_owned())
        }
        ConsumerKind::Pod => {
            let owners = old
                .iter()
                .flat_map(|pod| pod.metadata.owner_references.iter().flatten());
            let owner = owners.into_iter().find(|owner| owner.controller == Some(true));
            Some(match owner {
                Some(owner) => format!(
                    "{} {} is not restarted by Tandem; replace the pod with: {}",
                    owner.kind,
                    owner.name,
                    delete()
                ),
                None => format!("nothing restarts it; make it anew after: {}", delete()),
            })
        }
    }
}
