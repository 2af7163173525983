//! The workloads of a namespace, and the requests about them.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use kube::Client;
use kube::api::{
    Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
};
use serde_json::{Value, json};

use std::sync::Arc;

use super::decide::Annotations;
use super::mark::Mark;
use super::pause::seconds;
use super::throttle::Throttle;
use super::{FIELD_MANAGER, Program, jobs};

/// The kinds, in the order in which they are gone through. The last one has a flag of its own.
pub(super) const KINDS: &[Kind] = &[
    Kind::Deployment,
    Kind::CronJob,
    Kind::Job,
    Kind::DaemonSet,
    Kind::StatefulSet,
    Kind::Rollout,
];
/// How a Rollout is to be restarted: by its own time when this says `restart`, else by its template.
const ROLLOUT_STRATEGY: &str = "reloader.stakater.com/rollout-strategy";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Deployment,
    CronJob,
    Job,
    DaemonSet,
    StatefulSet,
    Rollout,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::CronJob => "CronJob",
            Self::Job => "Job",
            Self::DaemonSet => "DaemonSet",
            Self::StatefulSet => "StatefulSet",
            Self::Rollout => "Rollout",
        }
    }

    fn group(self) -> &'static str {
        match self {
            Self::Deployment | Self::DaemonSet | Self::StatefulSet => "apps",
            Self::CronJob | Self::Job => "batch",
            Self::Rollout => "argoproj.io",
        }
    }

    fn version(self) -> &'static str {
        match self {
            Self::Rollout => "v1alpha1",
            Self::Deployment | Self::CronJob | Self::Job | Self::DaemonSet | Self::StatefulSet => "v1",
        }
    }

    pub(super) fn resource(self) -> ApiResource {
        ApiResource::from_gvk(&GroupVersionKind::gvk(self.group(), self.version(), self.name()))
    }

    fn template(self) -> &'static str {
        match self {
            Self::CronJob => "/spec/jobTemplate/spec/template",
            Self::Deployment | Self::Job | Self::DaemonSet | Self::StatefulSet | Self::Rollout => {
                "/spec/template"
            }
        }
    }
}

/// One workload, as it was listed.
#[derive(Clone, Debug)]
pub(super) struct Workload {
    pub(super) kind: Kind,
    pub(super) object: DynamicObject,
}

impl Workload {
    pub(super) fn name(&self) -> &str {
        self.object.metadata.name.as_deref().unwrap_or_default()
    }

    pub(super) fn namespace(&self) -> &str {
        self.object.metadata.namespace.as_deref().unwrap_or_default()
    }

    pub(super) fn annotations(&self) -> Annotations {
        self.object.metadata.annotations.clone().unwrap_or_default()
    }

    pub(super) fn template_annotations(&self) -> Annotations {
        let metadata = self.template().metadata.unwrap_or_default();
        metadata.annotations.unwrap_or_default()
    }

    pub(super) fn template(&self) -> PodTemplateSpec {
        let template = self.object.data.pointer(self.kind.template()).cloned();
        template
            .and_then(|template| serde_json::from_value(template).ok())
            .unwrap_or_default()
    }

    /// The same workload with another template.
    pub(super) fn with_template(&self, template: Value) -> Self {
        let mut changed = self.clone();
        if let Some(place) = changed.object.data.pointer_mut(self.kind.template()) {
            *place = template;
        }
        changed
    }
}

/// The clients of one attempt at one event; each API group has a limit of its own.
pub(super) struct Clients {
    program: Arc<Program>,
    apps: Throttle,
    batch: Throttle,
    argo: Throttle,
}

impl Clients {
    pub(super) fn new(program: &Arc<Program>) -> Self {
        Self {
            program: Arc::clone(program),
            apps: Throttle::default(),
            batch: Throttle::default(),
            argo: Throttle::default(),
        }
    }

    /// The API of a kind, when one more request to it is allowed.
    pub(super) async fn api(&mut self, kind: Kind, namespace: &str) -> Api<DynamicObject> {
        match kind {
            Kind::Deployment | Kind::DaemonSet | Kind::StatefulSet => self.apps.pass().await,
            Kind::CronJob | Kind::Job => self.batch.pass().await,
            Kind::Rollout => self.argo.pass().await,
        }
        self.program.pass().await;
        api(&self.program.client, kind, namespace)
    }

    pub(super) async fn list(&mut self, kind: Kind, namespace: &str) -> kube::Result<Vec<Workload>> {
        let listed = self
            .api(kind, namespace)
            .await
            .list(&ListParams::default())
            .await?;
        let workloads = listed.items.into_iter().map(|object| Workload { kind, object });
        Ok(workloads.collect())
    }

    /// Brings a mark to a workload: by a patch, or for what cannot be changed by another Job.
    pub(super) async fn write(&mut self, workload: &Workload, mark: &Mark) -> kube::Result<()> {
        match workload.kind {
            Kind::Deployment | Kind::DaemonSet | Kind::StatefulSet => {
                self.patch(workload, mark.patch()).await
            }
            Kind::CronJob => jobs::instantiate(self, &workload.with_template(mark.template())).await,
            Kind::Job => jobs::make_again(self, &workload.with_template(mark.template())).await,
            Kind::Rollout => self.write_rollout(workload, mark).await,
        }
    }

    /// There is no strategic patch for what the API server has no types of, so it is put as a whole.
    async fn write_rollout(&mut self, rollout: &Workload, mark: &Mark) -> kube::Result<()> {
        let strategy = rollout.annotations().remove(ROLLOUT_STRATEGY);
        if strategy.as_deref() == Some("restart") {
            let patch = json!({"spec": {"restartAt": seconds(Timestamp::now())}});
            return self.patch(rollout, Patch::Merge(patch)).await;
        }
        let marked = rollout.with_template(mark.template()).object;
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let api = self.api(rollout.kind, rollout.namespace()).await;
        api.replace(rollout.name(), &params, &marked).await?;
        Ok(())
    }

    pub(super) async fn patch(&mut self, workload: &Workload, patch: Patch<Value>) -> kube::Result<()> {
        let api = self.api(workload.kind, workload.namespace()).await;
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        api.patch(workload.name(), &params, &patch).await?;
        Ok(())
    }
}

pub(super) fn api(client: &Client, kind: Kind, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), namespace, &kind.resource())
}
