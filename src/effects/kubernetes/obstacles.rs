//! Why a rollout does not go on, in the workload's and the pods' own words, with the command that mends it.
//!
//! Only words of Kubernetes itself are repeated. What a container said when it ended is the application's, and may be
//! a connection string.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::consumers::is_ready;
use super::owners::{Workload, controller, name};
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
        .or_else(|| new.iter().find_map(|pod| trouble(namespace, pod)))
        .or_else(|| unmade(workload))
        .or_else(|| old.iter().find_map(|pod| terminating(pod)))
        .or_else(|| old.iter().find_map(|pod| trouble(namespace, pod)))
        .or_else(|| {
            let unready = new.iter().find_map(|pod| unready(namespace, pod));
            overdue(workload)
                .into_iter()
                .chain(unready)
                .reduce(|why, pod| format!("{why}; {pod}"))
        })
        .or_else(|| halted(namespace, workload))
        .or_else(|| unmanaged(consumer, old, &delete))
}

/// The workload was told not to replace its pods.
pub(super) fn held_back(
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
        // Its restart goes on while it is paused.
        Workload::Rollout(_) => None,
    }
}

/// A pod does not come up.
fn trouble(namespace: &str, pod: &Pod) -> Option<String> {
    if is_ready(pod) {
        return None;
    }
    let status = pod.status.as_ref()?;
    let pod = name(&pod.metadata);
    let describe = format!("see: kubectl -n {namespace} describe pod {pod}");
    let unscheduled = status
        .conditions
        .iter()
        .flatten()
        .find(|c| c.type_ == "PodScheduled" && c.status == "False");
    if let Some(condition) = unscheduled {
        let (reason, message) = (condition.reason.as_deref(), condition.message.as_deref());
        return Some(format!(
            "pod {pod}: {}: {}; {describe}",
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
        .find_map(|container| Some((container, waiting(container)?)))
        .map(|(container, why)| {
            let see = last_words(namespace, pod, container).unwrap_or(describe);
            format!("pod {pod}: {why}; {see}")
        })
}

/// A new pod runs, and does not say that it is ready.
fn unready(namespace: &str, pod: &Pod) -> Option<String> {
    let mut containers = pod.status.as_ref()?.container_statuses.iter().flatten();
    let runs = |container: &&ContainerStatus| {
        let state = container.state.as_ref();
        !container.ready && state.is_some_and(|state| state.running.is_some())
    };
    let container = containers.find(runs)?;
    let (pod, ended) = (name(&pod.metadata), ended(container));
    let see = last_words(namespace, pod, container)
        .unwrap_or_else(|| format!("see: kubectl -n {namespace} logs {pod} -c {}", container.name));
    Some(format!(
        "pod {pod}: container {} runs and is not ready{ended}; {see}",
        container.name
    ))
}

/// How to read what a container said before it was started again.
fn last_words(namespace: &str, pod: &str, container: &ContainerStatus) -> Option<String> {
    (container.restart_count > 0).then(|| {
        format!(
            "see: kubectl -n {namespace} logs {pod} -c {} --previous",
            container.name
        )
    })
}

fn waiting(container: &ContainerStatus) -> Option<String> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting
        .reason
        .as_deref()
        .filter(|reason| !ORDINARY.contains(reason))?;
    let said = waiting.message.as_deref().filter(|_| TELLING.contains(&reason));
    let said = said.map(|message| format!(": {message}")).unwrap_or_default();
    let ended = ended(container);
    Some(format!(
        "container {} waits: {reason}{said}{ended}",
        container.name
    ))
}

/// How a container ended before it was started again, if it did.
fn ended(container: &ContainerStatus) -> String {
    let last = container.last_state.as_ref();
    let ended = last.and_then(|state| state.terminated.as_ref()).map(|ended| {
        let (code, restarts) = (ended.exit_code, container.restart_count);
        format!(", exited with {code} after {restarts} restarts")
    });
    ended.unwrap_or_default()
}

/// The workload's controller cannot make pods, for want of quota for example.
pub(super) fn unmade(workload: Option<Workload<'_>>) -> Option<String> {
    match workload? {
        Workload::Rollout(rollout) => rollout.degraded(),
        workload @ (Workload::Deployment(_) | Workload::StatefulSet(_) | Workload::DaemonSet(_)) => {
            condition(workload, "ReplicaFailure", "True")
        }
    }
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

/// A Rollout that waits for something besides its pods.
fn halted(namespace: &str, workload: Option<Workload<'_>>) -> Option<String> {
    match workload? {
        Workload::Rollout(rollout) => rollout.halted(namespace),
        Workload::Deployment(_) | Workload::StatefulSet(_) | Workload::DaemonSet(_) => None,
    }
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
            let owner = old.iter().find_map(|pod| controller(pod));
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::fixtures::{MARK, at, marked, over, pod, pod_of, policy, workload, workloads};

    /// What is said of workload `w`, with one old pod `w-old` and this new one, if any.
    fn said(kind: &str, old: Value, new: Option<Value>, set: Value) -> Option<String> {
        let mut pods = vec![pod_of(kind, "w", "w-old", -60, old)];
        pods.extend(new.map(|new| {
            pod_of(
                kind,
                "w",
                "w-new",
                5,
                over(json!({"metadata": {"annotations": marked()}}), new),
            )
        }));
        let set = vec![workload("w", set)];
        let none = Vec::new;
        let found = match kind {
            "Deployment" => workloads(pods, set, none(), none()),
            "StatefulSet" => workloads(pods, none(), set, none()),
            _ => workloads(pods, none(), none(), set),
        };
        let mut consumers = found.judge(&policy(&json!({})), MARK, Some(at(0)));
        assert_eq!(consumers.len(), 1, "{consumers:?}");
        consumers.remove(0).obstacle
    }

    fn container(state: &Value, more: Value) -> Value {
        let status = json!({"name": "main", "ready": false, "restartCount": 4, "image": "i", "imageID": "i", "state": state});
        json!({"status": {"conditions": [{"type": "Ready", "status": "False"}], "containerStatuses": [over(status, more)]}})
    }

    fn holds(text: Option<String>, parts: &[&str]) {
        let text = text.expect("something is said");
        for part in parts {
            assert!(text.contains(part), "{part:?} is not in: {text}");
        }
    }

    #[test]
    fn nothing_is_said_while_an_ordinary_rollout_goes_on() {
        let starting = container(&json!({"waiting": {"reason": "ContainerCreating"}}), json!({}));
        assert_eq!(said("Deployment", json!({}), Some(starting), json!({})), None);
        assert_eq!(said("StatefulSet", json!({}), None, json!({})), None);
    }

    #[test]
    fn fm34_a_paused_deployment_is_told_with_the_command_that_resumes_it() {
        let text = said("Deployment", json!({}), None, json!({"spec": {"paused": true}}));
        holds(text, &["paused", "kubectl -n shop rollout resume deployment/w"]);
    }

    #[test]
    fn fm37_pods_that_are_not_replaced_by_themselves_are_told_with_the_command() {
        let on_delete = json!({"spec": {"updateStrategy": {"type": "OnDelete"}}});
        for kind in ["StatefulSet", "DaemonSet"] {
            let text = said(kind, json!({}), None, on_delete.clone());
            holds(text, &["OnDelete", "kubectl -n shop delete pod w-old"]);
        }
        let partition = |from: i32| json!({"spec": {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": from}}}});
        holds(
            said("StatefulSet", json!({}), None, partition(2)),
            &["partition 2", "kubectl -n shop delete pod w-old"],
        );
        assert_eq!(said("StatefulSet", json!({}), None, partition(0)), None);
    }

    #[test]
    fn fm34_the_new_pods_own_trouble_comes_before_its_consequences() {
        let overdue = json!({"status": {"conditions": [
            {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "has timed out"},
        ]}});
        let crash = container(
            &json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}),
            json!({"lastState": {"terminated": {"exitCode": 3, "message": "cannot connect to postgresql://app_b:hunter2@db"}}}),
        );
        let text = said("Deployment", json!({}), Some(crash), overdue.clone());
        holds(
            text.clone(),
            &[
                "w-new",
                "CrashLoopBackOff",
                "exited with 3 after 4 restarts",
                "kubectl -n shop logs w-new -c main --previous",
            ],
        );
        assert!(
            !text.unwrap_or_default().contains("hunter2"),
            "an application's last words are not repeated"
        );
        holds(
            said("Deployment", json!({}), None, overdue),
            &["ProgressDeadlineExceeded: has timed out"],
        );
    }

    #[test]
    fn fm34_what_the_kubelet_and_the_scheduler_say_is_repeated() {
        for reason in ["ImagePullBackOff", "CreateContainerConfigError"] {
            let state = json!({"waiting": {"reason": reason, "message": "the reason why"}});
            holds(
                said(
                    "DaemonSet",
                    json!({}),
                    Some(container(&state, json!({}))),
                    json!({}),
                ),
                &["w-new", reason, "the reason why"],
            );
        }
        let unscheduled = json!({"status": {"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"},
        ]}});
        holds(
            said("StatefulSet", json!({}), Some(unscheduled), json!({})),
            &["w-new", "Unschedulable: 0/3 nodes are available"],
        );
    }

    #[test]
    fn fm34_a_pod_that_runs_and_is_not_ready_is_told_with_what_its_workload_says() {
        let running = || container(&json!({"running": {}}), json!({}));
        let parts = [
            "pod w-new: container main runs and is not ready",
            "kubectl -n shop logs w-new -c main",
        ];
        holds(said("StatefulSet", json!({}), Some(running()), json!({})), &parts);
        let overdue = json!({"status": {"conditions": [
            {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "has timed out"},
        ]}});
        let text = said("Deployment", json!({}), Some(running()), overdue);
        holds(text.clone(), &parts);
        holds(text, &["ProgressDeadlineExceeded: has timed out; pod w-new"]);
    }

    #[test]
    fn fm34_a_crash_loop_is_told_while_the_container_runs_once_more() {
        let again = container(
            &json!({"running": {}}),
            json!({"lastState": {"terminated": {"exitCode": 3}}}),
        );
        holds(
            said("Deployment", json!({}), Some(again), json!({})),
            &[
                "container main runs and is not ready, exited with 3 after 4 restarts",
                "kubectl -n shop logs w-new -c main --previous",
            ],
        );
    }

    #[test]
    fn fm34_a_quota_that_lets_no_pod_be_made_is_told() {
        let status = json!({"status": {"conditions": [
            {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: pods"},
        ]}});
        holds(
            said("Deployment", json!({}), None, status),
            &["FailedCreate: exceeded quota: pods"],
        );
    }

    #[test]
    fn what_nothing_replaces_is_told_with_the_command() {
        let owned = json!({"metadata": {"ownerReferences": [
            {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "shop", "uid": "x", "controller": true},
        ]}});
        for (more, part) in [
            (json!({}), "nothing restarts it"),
            (owned, "Rollout shop is not restarted by Tandem"),
        ] {
            let found = workloads(vec![pod("p", -5, more)], vec![], vec![], vec![]);
            let mut consumers = found.judge(&policy(&json!({})), MARK, Some(at(0)));
            holds(
                consumers.remove(0).obstacle,
                &[part, "kubectl -n shop delete pod p"],
            );
        }
    }
}
