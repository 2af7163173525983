//! The restart of one workload: one annotation of its pod template.

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use kube::api::{Patch, PatchParams};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::{Cluster, found, settled};
use crate::api::FIELD_MANAGER;
use crate::api::spec::TargetKind;
use crate::effects::{Error, Outcome};
use crate::policy::target::{ConsumerKind, ConsumerRef};

impl Cluster {
    /// Marks a workload's pod template, which makes its controller replace every pod. The same mark twice is one
    /// rollout. Guard: the uid, so that a workload that was deleted and made again meanwhile is looked at first.
    ///
    /// # Errors
    /// Conflict when the workload is gone or another one; otherwise when the write did not come to an end.
    pub async fn restart(
        &self,
        consumer: &ConsumerRef,
        uid: &str,
        key: &str,
        mark: &str,
    ) -> Result<Outcome, Error> {
        // A merge patch and not an apply: applying would create a workload that is gone, and would own nothing else
        // of it.
        let patch = Patch::Merge(json!({
            "metadata": {"uid": uid},
            "spec": {"template": {"metadata": {"annotations": {key: mark}}}},
        }));
        self.patch_workload(consumer, &patch).await
    }

    /// Patches a workload of any kind.
    pub(super) async fn patch_workload(
        &self,
        consumer: &ConsumerRef,
        patch: &Patch<Value>,
    ) -> Result<Outcome, Error> {
        let ConsumerKind::Workload(kind) = consumer.kind else {
            return Err(Error::Unusable(format!(
                "{consumer} is not a workload that can be restarted"
            )));
        };
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let name = &consumer.name;
        let result: Result<IgnoredAny, Error> = match kind {
            TargetKind::Deployment => self.patch::<Deployment, _>(name, &params, patch).await,
            TargetKind::StatefulSet => self.patch::<StatefulSet, _>(name, &params, patch).await,
            TargetKind::DaemonSet => self.patch::<DaemonSet, _>(name, &params, patch).await,
            TargetKind::Rollout => {
                return Err(Error::Unusable(format!("{consumer} has a restart of its own")));
            }
        };
        settled(found(result, || self.named(consumer.kind.as_str(), name)))
    }
}
