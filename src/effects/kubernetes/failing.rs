//! Whether a rollout has failed, or may be about to: what a roll-back is decided by.
//!
//! Only new pods count, and the workload's own word about them. What a person has said to hold back has not failed, nor
//! has an old pod that takes its time to end: another credential would mend neither.

use k8s_openapi::api::core::v1::Pod;

use super::consumers::is_ready;
use super::obstacles::{held_back, unmade};
use super::owners::Workload;
use crate::machine::facts::Failing;
use crate::policy::target::ConsumerRef;

/// So many restarts of a container are more than a start that came too early: with the kubelet's back-off they take more
/// than a minute.
const CRASHES: i32 = 3;

/// What speaks against the new pods of a workload.
pub(super) fn failing(
    consumer: &ConsumerRef,
    workload: Option<Workload<'_>>,
    new: &[&Pod],
) -> Option<Failing> {
    let workload = workload?;
    if held_back("", consumer, Some(workload), &String::new).is_some() {
        return None;
    }
    if is_overdue(workload) || new.iter().any(|pod| crashes(pod)) {
        return Some(Failing::Failure);
    }
    let starting = |pod: &&Pod| pod.metadata.deletion_timestamp.is_none() && !is_ready(pod);
    let troubled = unmade(Some(workload)).is_some() || new.iter().copied().any(|pod| starting(&pod));
    troubled.then_some(Failing::Trouble)
}

/// `spec.progressDeadlineSeconds` is over, of this very rollout: what the controller said before it has seen the template
/// was about another.
fn is_overdue(workload: Workload<'_>) -> bool {
    let Workload::Deployment(deployment) = workload else {
        return false;
    };
    let Some(status) = &deployment.status else {
        return false;
    };
    status.observed_generation >= deployment.metadata.generation
        && status
            .conditions
            .iter()
            .flatten()
            .any(|condition| condition.reason.as_deref() == Some("ProgressDeadlineExceeded"))
}

fn crashes(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let containers = status.into_iter().flat_map(|status| {
        let inits = status.init_container_statuses.iter().flatten();
        inits.chain(status.container_statuses.iter().flatten())
    });
    containers.into_iter().any(|container| {
        let state = container.state.as_ref();
        let waiting = state.and_then(|state| state.waiting.as_ref());
        let backs_off = waiting.is_some_and(|waiting| waiting.reason.as_deref() == Some("CrashLoopBackOff"));
        // It has backed off so often before this start, and whoever looks may always come while it runs.
        let is_at_it_again = !container.ready && state.is_some_and(|state| state.running.is_some());
        (backs_off && container.restart_count >= CRASHES)
            || (is_at_it_again && container.restart_count > CRASHES)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::fixtures::{MARK, at, marked, over, pod_of, policy, workload, workloads};
    use super::Failing;

    /// What speaks against the new pods of Deployment or `StatefulSet` `w`, whose one new pod is like this.
    fn judged(kind: &str, new: Value, set: Value) -> Option<Failing> {
        let new = over(json!({"metadata": {"annotations": marked()}}), new);
        let pods = vec![
            pod_of(kind, "w", "w-old", -60, json!({})),
            pod_of(kind, "w", "w-new", 5, new),
        ];
        let set = vec![workload("w", set)];
        let found = match kind {
            "Deployment" => workloads(pods, set, vec![], vec![]),
            _ => workloads(pods, vec![], set, vec![]),
        };
        found
            .judge(&policy(&json!({})), MARK, Some(at(0)))
            .remove(0)
            .failing
    }

    fn waits(reason: &str, restarts: i32) -> Value {
        container(&json!({"waiting": {"reason": reason}}), restarts)
    }

    fn runs(restarts: i32) -> Value {
        container(
            &json!({"running": {"startedAt": "2026-11-20T12:00:00Z"}}),
            restarts,
        )
    }

    fn container(state: &Value, restarts: i32) -> Value {
        json!({"status": {"conditions": [{"type": "Ready", "status": "False"}], "containerStatuses": [{
            "name": "main", "ready": false, "restartCount": restarts, "image": "i", "imageID": "i", "state": state,
        }]}})
    }

    /// The Deployment's own deadline is over; it has seen this generation of itself, of two.
    fn overdue(observed: i64) -> Value {
        json!({"metadata": {"generation": 2}, "status": {"observedGeneration": observed, "conditions": [
            {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"},
        ]}})
    }

    #[test]
    fn fm34_a_crash_loop_is_a_failure_and_a_start_that_takes_its_time_is_trouble() {
        for kind in ["Deployment", "StatefulSet"] {
            let said = |reason, restarts| judged(kind, waits(reason, restarts), json!({}));
            assert_eq!(said("CrashLoopBackOff", 3), Some(Failing::Failure));
            assert_eq!(said("CrashLoopBackOff", 1), Some(Failing::Trouble));
            let between = |restarts| judged(kind, runs(restarts), json!({}));
            assert_eq!(between(4), Some(Failing::Failure));
            assert_eq!(between(3), Some(Failing::Trouble));
            assert_eq!(said("ImagePullBackOff", 0), Some(Failing::Trouble));
            assert_eq!(said("ContainerCreating", 0), Some(Failing::Trouble));
            assert_eq!(judged(kind, json!({}), json!({})), None);
        }
    }

    #[test]
    fn fm34_a_deployments_deadline_is_a_failure_once_it_speaks_of_this_rollout() {
        let starting = || waits("ContainerCreating", 0);
        assert_eq!(
            judged("Deployment", starting(), overdue(2)),
            Some(Failing::Failure)
        );
        assert_eq!(
            judged("Deployment", starting(), overdue(1)),
            Some(Failing::Trouble)
        );
    }

    #[test]
    fn fm34_what_a_person_holds_back_has_not_failed() {
        let paused = over(overdue(2), json!({"spec": {"paused": true}}));
        assert_eq!(judged("Deployment", waits("CrashLoopBackOff", 9), paused), None);
        let on_delete = json!({"spec": {"updateStrategy": {"type": "OnDelete"}}});
        assert_eq!(
            judged("StatefulSet", waits("CrashLoopBackOff", 9), on_delete),
            None
        );
    }

    #[test]
    fn fm34_a_quota_that_lets_no_pod_be_made_is_trouble() {
        let quota = json!({"status": {"conditions": [
            {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: pods"},
        ]}});
        assert_eq!(judged("Deployment", json!({}), quota), Some(Failing::Trouble));
    }
}
