//! Deployments that Reloader itself has paused, so that several changes become one rollout.

use k8s_openapi::api::apps::v1::Deployment;

use super::Reloading;
use super::options::Options;
use crate::effects::kubernetes::owners::{Workload, name};

impl Reloading {
    /// That Reloader has paused a workload, and what becomes of it; nothing when it is not paused, or by somebody else.
    pub(in crate::effects::kubernetes) fn paused(
        &self,
        namespace: &str,
        workload: Workload<'_>,
    ) -> Option<String> {
        let Workload::Deployment(deployment) = workload else {
            return None;
        };
        let mut known = self.instances.options();
        known.find_map(|options| pause(options, namespace, deployment))
    }
}

/// It is resumed by a timer, which does not outlive the process (reloader-observed 94, 99).
fn pause(options: &Options, namespace: &str, deployment: &Deployment) -> Option<String> {
    let annotations = deployment.metadata.annotations.as_ref()?;
    let since = annotations.get(&options.paused_at)?;
    let period = annotations.get(&options.pause).map_or("", String::as_str);
    deployment.spec.paused.unwrap_or_default().then(|| {
        format!(
            "paused by Reloader since {since}, which resumes it when its pause-period ({period}) is over; only if Reloader has been restarted meanwhile, go on with: kubectl -n {namespace} rollout resume deployment/{}",
            name(&deployment.metadata)
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::pause;
    use crate::effects::kubernetes::fixtures::{object, over, workload};
    use crate::effects::kubernetes::reloader::options::Options;

    #[test]
    fn a_pause_of_reloaders_own_is_told_from_one_of_a_person() {
        let said = |annotations: Value, paused: bool| {
            let more = json!({"metadata": {"annotations": annotations}, "spec": {"paused": paused}});
            pause(&Options::default(), "shop", &object(workload("web", more)))
        };
        let period = json!({"deployment.reloader.stakater.com/pause-period": "5m"});
        let since = json!({"deployment.reloader.stakater.com/paused-at": "2026-11-20T18:10:38Z"});
        let both = || over(period.clone(), since.clone());
        let told = said(both(), true).unwrap_or_default();
        for part in [
            "paused by Reloader since 2026-11-20T18:10:38Z",
            "pause-period (5m)",
            "kubectl -n shop rollout resume deployment/web",
        ] {
            assert!(told.contains(part), "{part:?} is not in: {told}");
        }
        assert_eq!(said(both(), false), None, "resumed");
        assert_eq!(said(period.clone(), true), None, "paused before Reloader came");
    }
}
