//! What every test needs: a policy that exists, and the cluster seen through the effects.

use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tandem::api::{RotationPolicy, restart_key, restart_mark};
use tandem::effects::kubernetes::Cluster;
use tandem::effects::kubernetes::journal::Material;
use tandem::effects::kubernetes::secret::Delivery;
use tandem::effects::{Error, Outcome};
use tandem::machine::Journal;
use tandem::machine::facts::{Consumer, SecretSeen};
use tandem::machine::journal::{Rotation, Trigger};
use tandem::policy::target::RoleName;
use tandem::policy::{Policy, RotateMode};
use tandem::sensitive::Sensitive;
use tandem_lab::{Lab, Namespace, eventually};

/// The application Secret.
pub(crate) const SECRET: &str = "db-credentials";
/// A password that must be seen nowhere.
pub(crate) const PASSWORD: &str = "Sentinel-7f3a-Passwort";

/// A policy `app` in a namespace of its own.
pub(crate) struct Scene {
    pub(crate) namespace: Namespace,
    pub(crate) cluster: Cluster,
    pub(crate) object: RotationPolicy,
    pub(crate) policy: Policy,
}

impl Scene {
    pub(crate) async fn new(lab: &Lab) -> Result<Self> {
        Self::with(lab, json!({})).await
    }

    /// With further fields of the spec.
    pub(crate) async fn with(lab: &Lab, extra: Value) -> Result<Self> {
        let crd = RotationPolicy::crd();
        let crds: Api<CustomResourceDefinition> = Api::all(lab.admin());
        let params = PatchParams::apply("tandem-tests").force();
        crds.patch("rotationpolicies.tandem.dev", &params, &Patch::Apply(&crd))
            .await
            .context("cannot apply the CRD")?;
        let namespace = lab.namespace("effects").await?;
        let mut spec = json!({
            "users": ["app_a", "app_b"],
            "database": {"host": "db", "name": "appdb", "admin": {"secretRef": {"name": "admin"}}},
            "delivery": {"secret": {"name": SECRET, "templates": {"URL": "postgresql://{username}:{password:uri}@db/appdb"}}},
            "restart": {},
        });
        spec.as_object_mut()
            .context("a spec")?
            .extend(extra.as_object().context("fields")?.clone());
        let object: RotationPolicy = serde_json::from_value(json!({
            "apiVersion": "tandem.dev/v1alpha1",
            "kind": "RotationPolicy",
            "metadata": {"name": "app", "namespace": namespace.name()},
            "spec": spec,
        }))?;
        let policies: Api<RotationPolicy> = namespace.api();
        let object = eventually("the CRD to be served", Duration::from_secs(20), async || {
            Ok(Some(policies.create(&PostParams::default(), &object).await?))
        })
        .await?;
        Ok(Self {
            cluster: Cluster::new(lab.admin(), namespace.name()),
            policy: Policy::parse(&object)?,
            namespace,
            object,
        })
    }

    /// The same namespace, seen by a service account that may do what these rules say.
    pub(crate) async fn restricted(&self, rules: Value) -> Result<Cluster> {
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "tandem"}, "rules": rules});
        self.namespace.apply(&format!("{role}")).await?;
        self.namespace
            .apply("{apiVersion: v1, kind: ServiceAccount, metadata: {name: tandem}}")
            .await?;
        self.namespace
            .apply("{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: tandem}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: tandem}, subjects: [{kind: ServiceAccount, name: tandem}]}")
            .await?;
        let client = self
            .namespace
            .lab()
            .client_as(self.namespace.name(), "tandem")
            .await?;
        Ok(Cluster::new(client, self.namespace.name()))
    }

    /// Makes the application Secret, as a person would.
    pub(crate) async fn app_secret(&self) -> Result<()> {
        let data = [("username", "app_a"), ("password", PASSWORD), ("OTHER", "stays")];
        self.namespace.secret(SECRET, &data).await
    }

    pub(crate) async fn secret_version(&self) -> Result<String> {
        match self.cluster.see(&self.policy, None).await?.0 {
            SecretSeen::Present { version, .. } => Ok(version),
            SecretSeen::Missing => anyhow::bail!("there is no Secret"),
        }
    }

    pub(crate) fn secrets(&self) -> Api<Secret> {
        self.namespace.api()
    }

    /// A journal with a rotation under way.
    pub(crate) fn rotating(&self, number: u64) -> Journal {
        let mut journal = Journal::new(&self.policy.uid);
        journal.number = number;
        journal.rotation = Some(Rotation {
            trigger: Trigger::RotateNow("now".to_owned()),
            mode: RotateMode::Graceful,
            started_at: Timestamp::now(),
            spec: self.policy.snapshot.clone(),
            pending: self.policy.pair.1.clone(),
            retiring: self.policy.pair.0.clone(),
            identity: None,
            staged_at: None,
            undoes: None,
            rejected: 0,
            delivered: None,
            first: None,
            rolled_out_at: None,
        });
        journal
    }
}

pub(crate) fn material() -> Material {
    let sensitive = |text: &str| Sensitive::new(text.to_owned());
    Material {
        pending_password: sensitive(PASSWORD),
        pending_verifier: sensitive("SCRAM-pending"),
        retiring_verifier: sensitive("SCRAM-retiring"),
        previous_password: Some(sensitive("previous")),
    }
}

pub(crate) fn role(name: &str) -> RoleName {
    RoleName::new(name).unwrap()
}

pub(crate) fn sensitive(text: &str) -> Sensitive {
    Sensitive::new(text.to_owned())
}

/// The lab's image: a shell and nothing else.
const IMAGE: &str = "lab.local/empty:1";

/// How a pod can use the Secret.
pub(crate) const SHAPES: [&str; 6] = ["env", "envFrom", "volume", "projected", "initEnv", "initEnvFrom"];

/// A pod's spec that uses the Secret in this way, or, for any other word, not at all.
pub(crate) fn pod_spec(shape: &str) -> Value {
    let env =
        json!([{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": SECRET, "key": "password"}}}]);
    let env_from = json!([{"secretRef": {"name": SECRET}}]);
    let mut container = json!({
        "name": "main", "image": IMAGE, "imagePullPolicy": "Never",
        "command": ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done"],
    });
    let mut init = json!({"name": "init", "image": IMAGE, "imagePullPolicy": "Never", "command": ["/bin/sh", "-c", ":"]});
    let mut volumes = json!([]);
    match shape {
        "env" => container["env"] = env,
        "envFrom" => container["envFrom"] = env_from,
        "initEnv" => init["env"] = env,
        "initEnvFrom" => init["envFrom"] = env_from,
        "volume" => volumes = json!([{"name": "v", "secret": {"secretName": SECRET}}]),
        "projected" => {
            volumes = json!([{"name": "v", "projected": {"sources": [{"secret": {"name": SECRET}}]}}]);
        }
        _ => {}
    }
    json!({"terminationGracePeriodSeconds": 5, "initContainers": [init], "containers": [container], "volumes": volumes})
}

/// A pod's spec that is never scheduled, for what has to do with objects only.
pub(crate) fn gated(mut spec: Value) -> Value {
    spec["schedulingGates"] = json!([{"name": "tandem.dev/test"}]);
    spec
}

impl Scene {
    /// Applies a workload of one replica with this pod spec, and whatever else its spec says.
    pub(crate) async fn workload(&self, kind: &str, name: &str, pod: &Value, more: Value) -> Result<()> {
        let mut spec = json!({"template": {"metadata": {"labels": {"app": name}}, "spec": pod}});
        let fields = spec.as_object_mut().context("a spec")?;
        let group = if kind == "Job" { "batch/v1" } else { "apps/v1" };
        match kind {
            "Job" => fields["template"]["spec"]["restartPolicy"] = json!("Never"),
            "StatefulSet" => drop(fields.insert("serviceName".to_owned(), json!(name))),
            _ => {}
        }
        if kind != "Job" {
            fields.insert("selector".to_owned(), json!({"matchLabels": {"app": name}}));
        }
        fields.extend(more.as_object().context("fields")?.clone());
        let object = json!({"apiVersion": group, "kind": kind, "metadata": {"name": name, "labels": {"app": name}}, "spec": spec});
        self.namespace.apply(&object.to_string()).await
    }

    /// Waits for so many running pods of a workload.
    pub(crate) async fn running(&self, app: &str, count: usize) -> Result<Vec<Pod>> {
        let pods: Api<Pod> = self.namespace.api();
        eventually(
            format!("{count} running pods of {app}"),
            Duration::from_mins(1),
            async || {
                let list = pods
                    .list(&ListParams::default().labels(&format!("app={app}")))
                    .await?;
                let running = |pod: &&Pod| {
                    pod.status
                        .as_ref()
                        .is_some_and(|status| status.phase.as_deref() == Some("Running"))
                };
                let found: Vec<Pod> = list.items.iter().filter(running).cloned().collect();
                if found.len() != count || list.items.len() != count {
                    anyhow::bail!("{} of {} run", found.len(), list.items.len());
                }
                Ok(Some(found))
            },
        )
        .await
    }

    /// The consumers now, each with its old pods, for a delivery at this time with this mark.
    pub(crate) async fn consumers(
        &self,
        mark: &str,
        delivered_at: Option<Timestamp>,
    ) -> Result<Vec<Consumer>> {
        Ok(self
            .cluster
            .workloads()
            .await?
            .judge(&self.policy, mark, delivered_at))
    }

    pub(crate) async fn consumer(&self, name: &str, mark: &str, at: Option<Timestamp>) -> Result<Consumer> {
        let all = self.consumers(mark, at).await?;
        all.into_iter()
            .find(|c| c.reference.name == name)
            .with_context(|| format!("{name} is no consumer"))
    }

    /// Delivers as rotation 1 and says when the API server took it, and the mark of it.
    pub(crate) async fn deliver(&self) -> Result<(Option<Timestamp>, String)> {
        let version = self.secret_version().await?;
        let delivery = Delivery {
            number: 1,
            nonce: None,
            version: &version,
        };
        self.cluster
            .flip(&self.policy, delivery, &role("app_b"), &sensitive("new"))
            .await?;
        let SecretSeen::Present {
            landing: Some(landing),
            ..
        } = self.cluster.see(&self.policy, None).await?.0
        else {
            anyhow::bail!("it was not delivered");
        };
        Ok((
            Some(landing.at),
            restart_mark(&self.policy.uid, 1, Some(&landing.id)),
        ))
    }

    /// Restarts a consumer for this delivery.
    pub(crate) async fn restart(
        &self,
        name: &str,
        mark: &str,
        at: Option<Timestamp>,
    ) -> Result<Outcome, Error> {
        let consumer = self
            .consumer(name, mark, at)
            .await
            .map_err(|error| Error::Unusable(error.to_string()))?;
        let key = restart_key(&self.policy.name);
        self.cluster
            .restart(&consumer.reference, &consumer.uid, &key, mark)
            .await
    }
}
