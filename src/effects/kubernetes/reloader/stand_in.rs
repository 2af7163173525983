//! The write that Reloader has not made, made in its stead and in its form: the same element of the same container, so
//! that Reloader's own write, should it come after all, changes nothing.

use jiff::Timestamp;
use kube::api::Patch;
use serde_json::{Value, json};

use super::marker::LAST_RELOADED_FROM;
use super::{Content, Marker, Restart, Strategy};
use crate::effects::kubernetes::Cluster;
use crate::effects::{Error, Outcome};
use crate::policy::Policy;
use crate::policy::target::ConsumerRef;

impl Cluster {
    /// Restarts a workload as Reloader would. Everything is read afresh: a restart that came meanwhile is not made again.
    /// In the annotations strategy a restart that Reloader makes a moment later is a second one, since its mark carries
    /// the time; nobody can prevent that.
    ///
    /// # Errors
    /// Conflict when it is not Reloader's to restart any more; otherwise when the write did not come to an end.
    pub async fn stand_in(
        &self,
        policy: &Policy,
        consumer: &ConsumerRef,
        uid: &str,
        now: Timestamp,
    ) -> Result<Outcome, Error> {
        let app = self.app_secret(policy).await?;
        let reloading = self.reloading(policy, app.as_ref(), Content::First, now).await?;
        let workloads = self.workloads().await?;
        let found = workloads.of(consumer);
        let planned = found.and_then(|workload| Some((workload, reloading.restart_of(workload)?)));
        let (Some((workload, restart)), Some(marker)) = (planned, &reloading.marker) else {
            return Err(Error::Conflict {
                what: self.named(consumer.kind.as_str(), &consumer.name),
            });
        };
        let template = workload.template();
        if marker.is_on(template.metadata.as_ref(), template.spec.as_ref()) {
            return Ok(Outcome::Done);
        }
        let template = written(restart, marker, now)
            .map_err(|_| Error::Unusable(format!("the mark for {consumer} cannot be written")))?;
        let patch = Patch::Strategic(json!({"metadata": {"uid": uid}, "spec": {"template": template}}));
        self.patch_workload(consumer, &patch).await
    }
}

/// What changes in the pod template.
fn written(restart: Restart<'_>, marker: &Marker, now: Timestamp) -> Result<Value, serde_json::Error> {
    let Restart { strategy, container } = restart;
    Ok(match strategy {
        Strategy::EnvVars => {
            let variable = json!({"name": marker.variable(), "value": marker.hash()});
            json!({"spec": {"containers": [{"name": container, "env": [variable]}]}})
        }
        Strategy::Annotations => {
            json!({"metadata": {"annotations": {LAST_RELOADED_FROM: marker.source(container, now)?}}})
        }
    })
}
