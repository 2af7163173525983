//! What every test here begins with: the usual scene, with a Reloader of its own that Tandem may see.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tandem::api::{RotationPolicyStatus, restart_key};
use tandem::manifest::rbac::rbac;
use tandem_lab::{Consumer, ConsumerOptions, Lab, Login, Reloader, ReloaderOptions};

use crate::scene::{POLICY, Scene};

/// Annotation with names of Secrets.
pub(crate) const NAMED: &str = "secret.reloader.stakater.com/reload";
/// Annotation that asks for whatever the workload refers to.
pub(crate) const AUTO: &str = "reloader.stakater.com/auto";
/// The variable that Reloader writes for the application Secret.
const VARIABLE: &str = "STAKATER_DB_CREDENTIALS_SECRET";
/// The annotation that it writes in the other strategy.
pub(crate) const LAST_RELOADED_FROM: &str = "reloader.stakater.com/last-reloaded-from";
/// Long enough for a Reloader that was late to do what it has missed.
const A_WHILE: Duration = Duration::from_secs(3);

/// A scene with a Reloader.
pub(crate) struct Beside {
    pub(crate) scene: Scene,
    pub(crate) reloader: Reloader,
}

impl Deref for Beside {
    type Target = Scene;

    fn deref(&self) -> &Scene {
        &self.scene
    }
}

/// Who has marked a pod template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Tandem, in its own form.
    Own,
    /// Reloader, or Tandem in its stead: a variable.
    Variable,
    /// The same as an annotation.
    Annotation,
}

impl Beside {
    pub(crate) async fn new(lab: &Lab, name: &str, policy: Value, options: ReloaderOptions) -> Result<Self> {
        Self::of(Scene::new(lab, name, policy).await?, options).await
    }

    /// A Reloader beside a scene that is there.
    pub(crate) async fn of(scene: Scene, options: ReloaderOptions) -> Result<Self> {
        let lab = scene.lab.clone();
        let reloader = scene.stage.namespace.reloader(options).await?;
        let instance = format!("{}/{}", scene.namespace(), reloader.name()).parse();
        let instance = instance.map_err(anyhow::Error::msg)?;
        let rights = rbac(
            &scene.policy_text(),
            &[],
            &[instance],
            scene.controller.namespace(),
            scene.controller.service_account(),
        )?;
        lab.apply(Some(scene.namespace()), &rights).await?;
        // The other scenes have a Reloader too, each for itself; whoever may not see so must reckon with them.
        let (account, home) = (scene.controller.service_account(), scene.controller.namespace());
        let name = format!("reloaders-{home}");
        let get = |group: &str, resource: &str| json!({"apiGroups": [group], "resources": [resource], "verbs": ["get"]});
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name},
            "rules": [get("apps", "deployments"), get("coordination.k8s.io", "leases")],
        });
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": home}],
        });
        for object in [role, binding] {
            lab.apply(None, &object.to_string()).await?;
        }
        Ok(Self { scene, reloader })
    }

    /// An application of one pod, with these annotations.
    pub(crate) async fn annotated(&self, name: &str, annotations: &[(&str, &str)]) -> Result<Consumer> {
        let mut options = ConsumerOptions::of(&self.stage.postgres).named(name).replicas(1);
        for (key, value) in annotations {
            options = options.annotation(key, value);
        }
        self.stage.namespace.consumer(options).await
    }

    /// One rotation, after which each of these Deployments has one rollout more, with its mark in this form, and no
    /// login has failed.
    pub(crate) async fn rotates(&self, marks: &[(&Consumer, Mark)]) -> Result<RotationPolicyStatus> {
        let before = self.start(marks).await?;
        let status = self.scene.rotate().await?;
        self.ended(&before, marks).await?;
        Ok(status)
    }

    /// What is there before a rotation.
    pub(crate) async fn start(&self, marks: &[(&Consumer, Mark)]) -> Result<Before> {
        let mut revisions = BTreeMap::new();
        for (app, _) in marks {
            revisions.insert(app.name().to_owned(), self.revision(app.name()).await?);
        }
        let login = self.credential().await?;
        Ok(Before { login, revisions })
    }

    /// That a rotation has ended as it must.
    pub(crate) async fn ended(&self, before: &Before, marks: &[(&Consumer, Mark)]) -> Result<()> {
        let apps: Vec<&Consumer> = marks.iter().map(|(app, _)| *app).collect();
        self.sound(&before.login, &apps).await?;
        for (app, mark) in marks {
            let name = app.name();
            let (was, is) = (before.revisions[name], self.revision(name).await?);
            ensure!(is == was + 1, "{name} was rolled out {} times", is - was);
            self.is_marked(name, before, *mark).await?;
        }
        Ok(())
    }

    /// Nothing more happens, whatever comes late.
    pub(crate) async fn stays(&self, before: &Before, marks: &[(&Consumer, Mark)]) -> Result<()> {
        tokio::time::sleep(A_WHILE).await;
        self.ended(before, marks).await
    }

    async fn is_marked(&self, name: &str, before: &Before, mark: Mark) -> Result<()> {
        let found: Deployment = self.stage.namespace.api().get(name).await?;
        let template = found.spec.template;
        let annotations = template
            .metadata
            .and_then(|metadata| metadata.annotations)
            .unwrap_or_default();
        let pod = template.spec.context("a pod")?;
        let variable = pod
            .containers
            .iter()
            .flat_map(|container| container.env.iter().flatten())
            .find(|variable| variable.name == VARIABLE);
        let status = self.status().await?;
        let number = status.last_rotation.context("no rotation has ended")?.number;
        let own = annotations
            .get(&restart_key(POLICY))
            .is_some_and(|value| value.split('.').nth(1) == Some(&number.to_string()));
        let found = [
            (Mark::Own, own),
            (Mark::Variable, variable.is_some()),
            (Mark::Annotation, annotations.contains_key(LAST_RELOADED_FROM)),
        ];
        ensure!(
            found.contains(&(mark, true)) && (mark == Mark::Own || !own),
            "{name} is marked {found:?} after {:?}",
            before.revisions
        );
        Ok(())
    }

    /// Annotates the application Secret.
    pub(crate) async fn annotate_secret(&self, annotations: Value) -> Result<()> {
        let secrets: Api<k8s_openapi::api::core::v1::Secret> = self.stage.namespace.api();
        let patch = Patch::Merge(json!({"metadata": {"annotations": annotations}}));
        secrets
            .patch(tandem_lab::CREDENTIALS_SECRET, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }
}

/// What was there before a rotation.
pub(crate) struct Before {
    login: Login,
    revisions: BTreeMap<String, u32>,
}
