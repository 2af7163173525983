//! Whether somebody took a restart back: a tool that puts the template back to what a repository says, or a person with
//! `kubectl rollout undo`.
//!
//! A template without the mark has perhaps never had it, and perhaps lost it again. What the workload's controller has
//! kept tells the two apart: it makes a `ReplicaSet` or a `ControllerRevision` of each template that it has seen. To
//! restart once more against somebody's will would be a fight that nobody wins, and each round of it replaces pods.

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, ReplicaSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ManagedFieldsEntry, ObjectMeta};
use kube::core::Selector;
use serde::Deserialize as _;

use super::Cluster;
use super::owners::{Workload, name, uid};
use super::reloader::Reloading;
use crate::api::{FIELD_MANAGER, restart_key};
use crate::effects::Error;
use crate::machine::facts::{Consumer, Restarter};
use crate::machine::words::restart_rollout_command;
use crate::policy::Policy;

/// Kubernetes' own hand, which writes on every Deployment.
const CONTROLLERS: [&str; 2] = ["kube-controller-manager", "rollouts-controller"];

impl Cluster {
    /// The consumers of a policy's Secret, judged by their pods, and which of their restarts were taken
    /// back. That is looked for in the order in which consumers are restarted, and no further than to the next one that
    /// is to be restarted: one request for each.
    ///
    /// # Errors
    /// When the API server could not be asked, or does not allow it.
    pub async fn consumers(
        &self,
        policy: &Policy,
        mark: &str,
        delivered_at: Option<Timestamp>,
        spared_before: Option<Timestamp>,
        reloading: Reloading,
    ) -> Result<Vec<Consumer>, Error> {
        let workloads = self.workloads().await?.beside(reloading);
        let mut consumers = workloads.judge_sparing(policy, mark, delivered_at, spared_before);
        let key = restart_key(&policy.name);
        for consumer in &mut consumers {
            if consumer.marked || consumer.old_pods.is_empty() {
                continue;
            }
            let Some(workload) = workloads.of(&consumer.reference) else {
                continue;
            };
            if !self.had_mark(workload, &key, mark, &workloads.reloading).await? {
                match consumer.restarter {
                    Restarter::Tandem => break,
                    // Perhaps it is not restarted now, and then the next one is.
                    Restarter::Reloader => continue,
                }
            }
            consumer.reverted = true;
            let told = words(&self.namespace, consumer, workload, delivered_at);
            consumer.obstacle = Some(match consumer.obstacle.take() {
                Some(other) => format!("{told}; and {other}"),
                None => told,
            });
        }
        Ok(consumers)
    }

    async fn had_mark(
        &self,
        workload: Workload<'_>,
        key: &str,
        mark: &str,
        reloading: &Reloading,
    ) -> Result<bool, Error> {
        let selector = match workload {
            // Its own restart leaves no revision. What was asked of it is written beside it.
            Workload::Rollout(rollout) => return Ok(has(&rollout.metadata, key, mark)),
            Workload::Deployment(deployment) => &deployment.spec.selector,
            Workload::StatefulSet(set) => &set.spec.selector,
            Workload::DaemonSet(set) => &set.spec.selector,
        };
        let owner = uid(workload.metadata());
        let chosen = choose(selector)?;
        if let Workload::Deployment(_) = workload {
            let sets: Vec<ReplicaSet> = self.list_chosen(&chosen).await?;
            let templates = sets
                .iter()
                .filter(|set| is_of(&set.metadata, owner))
                .filter_map(|set| set.spec.template.as_ref());
            return Ok(templates
                .into_iter()
                .any(|template| is_marked(template, key, mark, reloading)));
        }
        let revisions: Vec<ControllerRevision> = self.list_chosen(&chosen).await?;
        let templates = revisions
            .iter()
            .filter(|revision| is_of(&revision.metadata, owner))
            .filter_map(|revision| revision.data.0.pointer("/spec/template"))
            .filter_map(|template| PodTemplateSpec::deserialize(template).ok());
        Ok(templates
            .into_iter()
            .any(|template| is_marked(&template, key, mark, reloading)))
    }
}

/// Whether it carries the mark, Tandem's or Reloader's.
fn is_marked(template: &PodTemplateSpec, key: &str, mark: &str, reloading: &Reloading) -> bool {
    let metadata = template.metadata.as_ref();
    metadata.is_some_and(|metadata| has(metadata, key, mark))
        || reloading.marks(metadata, template.spec.as_ref())
}

fn choose(selector: &LabelSelector) -> Result<Selector, Error> {
    let chosen = selector.clone().try_into();
    chosen.map_err(|error| Error::Unusable(format!("the selector of a workload cannot be used: {error}")))
}

fn has(metadata: &ObjectMeta, key: &str, mark: &str) -> bool {
    let annotations = metadata.annotations.as_ref();
    annotations
        .and_then(|all| all.get(key))
        .is_some_and(|found| found == mark)
}

fn is_of(metadata: &ObjectMeta, owner: &str) -> bool {
    let mut owners = metadata.owner_references.iter().flatten();
    owners.any(|reference| reference.controller == Some(true) && reference.uid == owner)
}

fn words(
    namespace: &str,
    consumer: &Consumer,
    workload: Workload<'_>,
    delivered_at: Option<Timestamp>,
) -> String {
    let reference = &consumer.reference;
    // Whoever only takes something away leaves no trace, and then who wrote before the delivery has nothing to do with it.
    let by = last_writer(workload.metadata())
        .filter(|(_, at)| delivered_at.is_some_and(|delivered| *at >= delivered))
        .map(|(manager, at)| format!(", which {manager} wrote last at {at}"))
        .unwrap_or_default();
    let restart = match workload {
        Workload::Rollout(rollout) => restart_rollout_command(namespace, name(&rollout.metadata)),
        Workload::Deployment(_) | Workload::StatefulSet(_) | Workload::DaemonSet(_) => {
            format!("kubectl -n {namespace} rollout restart {reference}")
        }
    };
    format!(
        "somebody took its restart back from {reference}{by}, and it is not restarted against their will. New pods are all it takes: {restart}"
    )
}

/// Who last wrote what is not status, Kubernetes' own controllers and Tandem aside, and when.
fn last_writer(metadata: &ObjectMeta) -> Option<(&str, Timestamp)> {
    let entries = metadata.managed_fields.iter().flatten();
    let written = |entry: &'_ ManagedFieldsEntry| entry.time.as_ref().map(|time| time.0);
    let people = entries.filter(|entry| entry.subresource.as_deref().unwrap_or_default().is_empty());
    people
        .filter_map(|entry| Some((entry.manager.as_deref()?, written(entry)?)))
        .filter(|(manager, _)| *manager != FIELD_MANAGER && !CONTROLLERS.contains(manager))
        .max_by_key(|(_, at)| *at)
}
