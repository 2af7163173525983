//! What every test needs: a policy that exists, and the cluster seen through the effects.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tandem::api::RotationPolicy;
use tandem::effects::kubernetes::Cluster;
use tandem::effects::kubernetes::journal::Material;
use tandem::machine::Journal;
use tandem::machine::facts::SecretSeen;
use tandem::machine::journal::{Rotation, Trigger};
use tandem::policy::Policy;
use tandem::policy::target::RoleName;
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
            started_at: jiff::Timestamp::now(),
            spec: self.policy.snapshot.clone(),
            pending: self.policy.pair.1.clone(),
            retiring: self.policy.pair.0.clone(),
            identity: None,
            rejected: 0,
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
