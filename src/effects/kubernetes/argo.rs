//! Argo Rollouts: the parts of its workload that matter here, and its restart.
//!
//! A `Rollout` has a restart of its own, `spec.restartAt`: its controller evicts every pod that is older, of the stable
//! `ReplicaSet` and of the canary, and leaves the template as it is. So no canary begins, and no pause holds it up. What is
//! absent is empty, as with all objects that Kubernetes itself does not define.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use super::owners::name;
use super::wire::Place;
use super::{Cluster, found, settled};
use crate::api::{FIELD_MANAGER, ROLLOUTS_GROUP};
use crate::effects::{Error, Outcome};
use crate::machine::words::restart_rollout_command;

const VERSION: &str = "v1alpha1";
const PLURAL: &str = "rollouts";

/// A workload of Argo Rollouts.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Rollout {
    pub(super) metadata: ObjectMeta,
    pub(super) spec: Spec,
    pub(super) status: Status,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Spec {
    /// Its own, or that of the workload that it refers to.
    pub(super) template: PodTemplateSpec,
    pub(super) workload_ref: Option<WorkloadRef>,
    pub(super) restart_at: Option<Timestamp>,
}

/// Another workload, whose template is taken.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WorkloadRef {
    pub(super) kind: String,
    pub(super) name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Status {
    pub(super) phase: String,
    pub(super) message: String,
    /// The last restart that has ended.
    pub(super) restarted_at: Option<Timestamp>,
}

impl Rollout {
    /// Takes the template of the Deployment that it refers to.
    pub(super) fn with_template_of(mut self, deployments: &[Deployment]) -> Self {
        let reference = self.spec.workload_ref.as_ref();
        let named = reference.filter(|reference| reference.kind == "Deployment");
        let found = named.and_then(|named| deployments.iter().find(|d| name(&d.metadata) == named.name));
        if let Some(deployment) = found {
            self.spec.template.clone_from(&deployment.spec.template);
        }
        self
    }

    /// Whether it has been told to replace every pod that may hold what was there before the delivery.
    pub(super) fn is_restarted(&self, delivered_at: Option<Timestamp>) -> bool {
        let told = self.spec.restart_at.zip(delivered_at);
        told.is_some_and(|(restart, delivered)| restart >= due(delivered))
    }

    /// Its controller has given it up, or cannot understand it.
    pub(super) fn degraded(&self) -> Option<String> {
        let Status { phase, message, .. } = &self.status;
        (phase == "Degraded").then(|| format!("{phase}: {message}"))
    }

    /// It waits for something besides its pods: for a person at a step of a canary, or perhaps for the leave to evict a
    /// pod, of which its controller says nothing.
    pub(super) fn halted(&self, namespace: &str) -> Option<String> {
        let rollout = name(&self.metadata);
        if self.spec.restart_at.is_some() && self.spec.restart_at != self.status.restarted_at {
            return Some(format!(
                "Argo Rollouts evicts its pods one after the other; when none goes, see who forbids it with: kubectl -n {namespace} get poddisruptionbudgets"
            ));
        }
        let Status { phase, message, .. } = &self.status;
        (phase == "Paused").then(|| {
            format!(
                "{phase}: {message}; replace its stable pods too with: {}",
                restart_rollout_command(namespace, rollout)
            )
        })
    }
}

impl Cluster {
    /// All Rollouts of the namespace; none where nobody has defined what they are.
    pub(super) async fn rollouts(&self) -> Result<Vec<Rollout>, Error> {
        match self.list_at(&self.rollouts_place()).await {
            Err(Error::Kubernetes { source, .. }) if super::wire::is_missing(&source) => Ok(Vec::new()),
            // Where there is no such kind, nobody needs the right to see it.
            Err(Error::Refused(_)) if !self.serves(ROLLOUTS_GROUP, VERSION, PLURAL).await? => Ok(Vec::new()),
            listed => listed,
        }
    }

    /// Has a Rollout replace every pod from before the delivery. The same delivery always asks for the same time, so
    /// asking twice is asking once. The mark on the Rollout itself tells that it has been asked, when somebody has taken
    /// the time away. Guard: the uid.
    ///
    /// # Errors
    /// Conflict when the Rollout is gone or another one, or when nobody knows of a delivery; otherwise when the write did
    /// not come to an end.
    pub async fn restart_rollout(
        &self,
        name: &str,
        uid: &str,
        key: &str,
        mark: &str,
        delivered_at: Option<Timestamp>,
    ) -> Result<Outcome, Error> {
        let place = self.rollouts_place();
        let Some(delivered_at) = delivered_at else {
            return Err(Error::Conflict {
                what: place.named(name),
            });
        };
        let patch = Patch::Merge(json!({
            "metadata": {"uid": uid, "annotations": {key: mark}},
            "spec": {"restartAt": due(delivered_at)},
        }));
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let result: Result<IgnoredAny, Error> = self.patch_at(&place, name, &params, &patch).await;
        settled(found(result, || place.named(name)))
    }

    fn rollouts_place(&self) -> Place {
        Place {
            path: format!(
                "/apis/{ROLLOUTS_GROUP}/{VERSION}/namespaces/{}/{PLURAL}",
                self.namespace
            ),
            kind: "Rollout".into(),
            plural: PLURAL.into(),
            namespace: Some(self.namespace.clone()),
        }
    }
}

/// The first second whose pods have surely loaded what the delivery brought: times of the API server are cut to the
/// second, and a pod that is not older than this one is left alone.
fn due(delivered_at: Timestamp) -> Timestamp {
    let second = delivered_at.as_second();
    let cut = Timestamp::from_second(second).unwrap_or(delivered_at);
    cut.checked_add(SignedDuration::from_secs(1))
        .unwrap_or(delivered_at)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::consumers::Workloads;
    use super::super::fixtures::{MARK, at, object, over, pod, policy, spec, workload, workloads};
    use crate::machine::facts::Consumer;

    /// What is made of Rollout `shop` with one pod from before the delivery and this much more.
    fn judged(more: Value, deployments: Vec<Value>) -> Vec<Consumer> {
        let owner = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "shop-77", "uid": "x", "controller": true});
        let labels = json!({"rollouts-pod-template-hash": "77"});
        let metadata = json!({"metadata": {"labels": labels, "ownerReferences": [owner]}});
        let found = workloads(vec![pod("shop-77-a", -5, metadata)], deployments, vec![], vec![]);
        let rollout: super::Rollout = object(over(workload("shop", json!({})), more));
        let found = Workloads {
            rollouts: vec![rollout.with_template_of(&found.deployments)],
            ..found
        };
        found.judge(&policy(&json!({})), MARK, Some(at(0)))
    }

    fn restarted_at(seconds: i64) -> Value {
        json!({"spec": {"restartAt": at(seconds).to_string()}})
    }

    #[test]
    fn case34_a_rollout_is_restarted_when_its_time_leaves_no_pod_from_before_the_delivery() {
        for (more, marked) in [
            (json!({}), false),
            (restarted_at(-60), false),
            // A pod of the second of the delivery itself may be from before it.
            (restarted_at(0), false),
            (restarted_at(1), true),
            (restarted_at(3600), true),
        ] {
            let consumers = judged(more.clone(), vec![]);
            assert_eq!(consumers.len(), 1, "{consumers:?}");
            assert_eq!(consumers[0].reference.to_string(), "rollout/shop");
            assert_eq!(consumers[0].old_pods, ["shop-77-a"]);
            assert_eq!(consumers[0].marked, marked, "{more}");
        }
    }

    #[test]
    fn a_rollout_with_the_template_of_a_deployment_uses_what_that_one_uses() {
        let reference = json!({"kind": "Deployment", "name": "borrowed"});
        let refers = json!({"spec": {"template": {"spec": spec(false)}, "workloadRef": reference}});
        let without_pods = |uses| workload("borrowed", json!({"spec": {"template": {"spec": spec(uses)}}}));
        let names = |consumers: Vec<Consumer>| -> Vec<String> {
            consumers.iter().map(|c| c.reference.to_string()).collect()
        };
        assert_eq!(
            names(judged(refers.clone(), vec![without_pods(true)])),
            ["deployment/borrowed", "rollout/shop"]
        );
        // Its pod still says that it does.
        assert_eq!(names(judged(refers, vec![without_pods(false)])), ["rollout/shop"]);
    }

    #[test]
    fn fm34_what_holds_a_rollout_up_is_told_with_the_command() {
        let status = |phase: &str, message: &str| json!({"status": {"phase": phase, "message": message}});
        let evicting = over(restarted_at(1), status("Progressing", "rollout is restarting"));
        let done = json!({"status": {"restartedAt": at(1).to_string(), "phase": "Paused", "message": "CanaryPauseStep"}});
        for (more, parts) in [
            (
                status("Degraded", "InvalidSpec: no"),
                vec!["Degraded: InvalidSpec: no"],
            ),
            (
                evicting,
                vec!["evicts", "kubectl -n shop get poddisruptionbudgets"],
            ),
            (
                over(restarted_at(1), done),
                vec![
                    "Paused: CanaryPauseStep",
                    "kubectl -n shop patch rollout shop --type merge",
                ],
            ),
        ] {
            let said = judged(more, vec![]).remove(0).obstacle.unwrap();
            for part in parts {
                assert!(said.contains(part), "{part:?} is not in: {said}");
            }
        }
        assert_eq!(judged(status("Healthy", ""), vec![]).remove(0).obstacle, None);
    }
}
