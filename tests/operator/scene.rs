//! A policy, a store with its secret, an operator, and Tandem with its rights.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::{Value, json};
use tandem::api::sync_request;
use tandem::effects::kubernetes::Cluster;
use tandem::effects::kubernetes::secret::AppSecret;
use tandem::effects::{Error, Outcome};
use tandem::machine::facts::{Finding, OperatorSeen, SecretSeen};
use tandem::manifest::rbac::{ClusterObject, rbac};
use tandem::policy::Policy;
use tandem::policy::target::RoleName;
use tandem::sensitive::Sensitive;
use tandem_lab::aws::Value as Stored;
use tandem_lab::{Aws, Eso, EsoOptions, Lab, Namespace, eventually};

/// The secret in the store.
pub(crate) const ID: &str = "orders/db";
/// The `ExternalSecret`, and the Secret that it makes.
pub(crate) const NAME: &str = "db";
/// The store's kind of password before the rotation, and the one that comes with it.
pub(crate) const OLD: &str = "alt-0123456789abcdefghijklmnopqr";
pub(crate) const NEW: &str = "neu-0123456789abcdefghijklmnopqr";
/// Number of the rotation.
const NUMBER: u64 = 3;
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// As long as something is watched that is not to happen. An operator that is to do it needs a fraction of this.
pub(crate) const QUIET: Duration = Duration::from_secs(2);

pub(crate) struct Scene {
    pub(crate) namespace: Namespace,
    pub(crate) aws: Aws,
    pub(crate) eso: Eso,
    pub(crate) cluster: Cluster,
    pub(crate) policy: Policy,
}

impl Scene {
    /// With an `ExternalSecret` of the usual shape, changed in its spec, and synced.
    pub(crate) async fn new(lab: &Lab, change: Value) -> Result<Self> {
        let scene = Self::empty(lab).await?;
        scene.external(NAME, change).await?;
        scene
            .until(NAME, |data| data.values().any(|value| value.contains(OLD)))
            .await?;
        scene.settled(NAME).await?;
        // Its first sync it may do twice, from a cache that is behind; and it notes times to the second.
        tokio::time::sleep(QUIET).await;
        Ok(scene)
    }

    /// With a store that is ready, and nothing that reads it.
    pub(crate) async fn empty(lab: &Lab) -> Result<Self> {
        Self::with(lab, EsoOptions::of, &[]).await
    }

    pub(crate) async fn with(
        lab: &Lab,
        options: impl FnOnce(&Aws) -> EsoOptions,
        objects: &[&str],
    ) -> Result<Self> {
        let namespace = lab.namespace("operator").await?;
        let aws = Aws::start(IpAddr::V4(Ipv4Addr::LOCALHOST))?;
        aws.create(ID, stored("app_a", OLD))?;
        let eso = namespace.eso(options(&aws)).await?;
        eso.keys(aws.key()).await?;
        eso.apply(&[eso.secret_store("aws")]).await?;
        let policy = policy(&namespace, &aws, json!({}));
        let cluster = tandem(&namespace, &policy, objects).await?;
        Ok(Self {
            policy: Policy::parse(&serde_json::from_value(policy)?)?,
            namespace,
            aws,
            eso,
            cluster,
        })
    }

    /// The same for a policy with these fields of `delivery.externalSecret`.
    pub(crate) fn policy(&self, change: Value) -> Result<Policy> {
        let object = policy(&self.namespace, &self.aws, change);
        Ok(Policy::parse(&serde_json::from_value(object)?)?)
    }

    /// The same, seen by somebody who may do everything.
    pub(crate) fn by_admin(self) -> Self {
        Self {
            cluster: Cluster::new(self.namespace.lab().admin(), self.namespace.name()),
            ..self
        }
    }

    /// Applies an `ExternalSecret` of both properties, with a change to its spec.
    pub(crate) async fn external(&self, name: &str, change: Value) -> Result<()> {
        let usual = self
            .eso
            .external_secret(name, "aws", ID, &["username", "password"]);
        self.eso.apply(&[over(usual, json!({"spec": change}))]).await
    }

    /// The operator's objects of a kind in the namespace.
    pub(crate) fn objects(&self, kind: &str) -> Api<DynamicObject> {
        self.objects_in("v1", kind)
    }

    pub(crate) fn objects_in(&self, version: &str, kind: &str) -> Api<DynamicObject> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("external-secrets.io", version, kind));
        Api::namespaced_with(self.namespace.lab().admin(), self.namespace.name(), &kind)
    }

    pub(crate) fn secrets(&self) -> Api<Secret> {
        self.namespace.api()
    }

    /// Writes the Secret as somebody else.
    pub(crate) async fn meddle(&self, patch: Value) -> Result<Secret> {
        let params = PatchParams {
            field_manager: Some("somebody".into()),
            ..PatchParams::default()
        };
        Ok(self.secrets().patch(NAME, &params, &Patch::Merge(patch)).await?)
    }

    /// Makes the other user's credential the current one in the store.
    pub(crate) fn flip(&self) -> Result<()> {
        self.aws.put(ID, stored("app_b", NEW))?;
        Ok(())
    }

    pub(crate) async fn operator(&self) -> Result<OperatorSeen, Error> {
        self.cluster.operator(&self.policy, NUMBER).await
    }

    /// The guard for a request.
    pub(crate) async fn guard(&self) -> Result<String> {
        match self.operator().await? {
            OperatorSeen::Present { version, .. } => Ok(version),
            OperatorSeen::Unusable(finding) => anyhow::bail!(finding.message),
        }
    }

    /// What the operator says that is in the way.
    pub(crate) async fn trouble(&self) -> Result<Option<Finding>> {
        match self.operator().await? {
            OperatorSeen::Present { trouble, .. } => Ok(trouble),
            OperatorSeen::Unusable(finding) => anyhow::bail!(finding.message),
        }
    }

    pub(crate) async fn ask(&self, guard: &str, times: u32) -> Result<Outcome, Error> {
        let request = sync_request(&self.policy.uid, NUMBER, times, Timestamp::now());
        self.cluster.ask_sync(guard, &request).await
    }

    /// Looks, and asks. Whoever writes in between is no reason to fail: the operator does after each sync.
    pub(crate) async fn request(&self, times: u32) -> Result<()> {
        eventually("a request to be taken", SOON, async || {
            match self.ask(&self.guard().await?, times).await {
                Ok(outcome) => {
                    assert_eq!(outcome, Outcome::Done);
                    Ok(Some(()))
                }
                Err(Error::Conflict { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    /// The Secret, as a rotation that delivers [`NEW`] in place of [`OLD`] sees it.
    pub(crate) async fn seen(&self) -> Result<(SecretSeen, Option<AppSecret>)> {
        let user = RoleName::new("app_b").unwrap();
        let (new, old) = (Sensitive::new(NEW.to_owned()), Sensitive::new(OLD.to_owned()));
        let pending = Some((&user, &new));
        Ok(self.cluster.see_synced(&self.policy, pending, Some(&old)).await?)
    }

    pub(crate) async fn carried(&self) -> Result<bool> {
        Ok(matches!(
            self.seen().await?.0,
            SecretSeen::Present {
                carries_pending: true,
                ..
            }
        ))
    }

    pub(crate) async fn until_carried(&self) -> Result<()> {
        eventually("the new credential to have come", SOON, async || {
            Ok(self.carried().await?.then_some(()))
        })
        .await
    }

    /// That the new credential does not come by itself.
    pub(crate) async fn stays_behind(&self) -> Result<()> {
        let until = tokio::time::Instant::now() + QUIET;
        while tokio::time::Instant::now() < until {
            ensure!(!self.carried().await?, "it has come");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Waits until a Secret's data are so.
    pub(crate) async fn until(
        &self,
        secret: &str,
        so: impl Fn(&std::collections::BTreeMap<String, String>) -> bool,
    ) -> Result<()> {
        eventually(format_args!("Secret {secret} to be so"), SOON, async || {
            let data = self.namespace.read_secret(secret).await?;
            Ok(so(&data).then_some(()))
        })
        .await
    }

    /// Waits until the operator has written what it thinks of an `ExternalSecret`.
    pub(crate) async fn settled(&self, external: &str) -> Result<()> {
        eventually(format_args!("the status of {external}"), SOON, async || {
            Ok(self.eso.synced(external).await?.ready.map(|_| ()))
        })
        .await
    }

    pub(crate) async fn findings(&self) -> Result<Vec<Finding>> {
        self.findings_of(&self.policy).await
    }

    pub(crate) async fn findings_of(&self, policy: &Policy) -> Result<Vec<Finding>> {
        let (_, app) = self.cluster.see_synced(policy, None, None).await?;
        Ok(self.cluster.operator_findings(policy, app.as_ref()).await?)
    }

    /// Waits until exactly this is found; the operator takes its moment to say what it says. Where a test has several
    /// `ExternalSecret`s of the same secret, that each has others beside it goes without saying.
    pub(crate) async fn until_found(&self, policy: &Policy, expected: &[(&str, bool)]) -> Result<()> {
        eventually(format_args!("the findings {expected:?}"), SOON, async || {
            let mut found = self.findings_of(policy).await?;
            found.retain(|finding| finding.reason != "StoreAlsoRead");
            let reasons: Vec<_> = found.iter().map(|f| (f.reason, f.blocks)).collect();
            ensure!(reasons == expected, "found {found:#?}");
            Ok(Some(()))
        })
        .await
    }
}

pub(crate) fn stored(user: &str, password: &str) -> Stored {
    Stored::Text(json!({"username": user, "password": password, "host": "db"}).to_string())
}

fn policy(namespace: &Namespace, aws: &Aws, change: Value) -> Value {
    let external = json!({
        "name": NAME,
        "awsSecretsManager": {"secretId": ID, "region": aws.region()},
    });
    json!({
        "apiVersion": "tandem.dev/v1alpha1",
        "kind": "RotationPolicy",
        "metadata": {"name": "app", "namespace": namespace.name(), "uid": "5b1f"},
        "spec": {
            "users": ["app_a", "app_b"],
            "database": {"host": "db", "name": "appdb", "admin": {"secretRef": {"name": "admin"}}},
            "delivery": {"externalSecret": over(external, change)},
            "restart": {},
        },
    })
}

/// The cluster as Tandem sees it, with the rights that are printed for the policy and these objects in no namespace.
pub(crate) async fn tandem(namespace: &Namespace, policy: &Value, objects: &[&str]) -> Result<Cluster> {
    let objects: Vec<ClusterObject> = objects.iter().map(|object| object.parse().unwrap()).collect();
    let printed = rbac(&policy.to_string(), &objects, &[], namespace.name(), "tandem")?;
    namespace
        .apply("{apiVersion: v1, kind: ServiceAccount, metadata: {name: tandem}}")
        .await?;
    for mut document in serde_saphyr::from_multiple::<Value>(&printed)? {
        if document["kind"]
            .as_str()
            .is_some_and(|kind| kind.starts_with("Cluster"))
        {
            // By this the end of the test knows what to tidy.
            document["metadata"]["labels"] = json!({"lab.tandem.dev/namespace": namespace.name()});
        }
        namespace.apply(&document.to_string()).await?;
    }
    let client = namespace.lab().client_as(namespace.name(), "tandem").await;
    Ok(Cluster::new(client.context("no client")?, namespace.name()))
}

/// Puts one object over another, field by field.
pub(crate) fn over(mut below: Value, above: Value) -> Value {
    match (&mut below, above) {
        (Value::Object(fields), Value::Object(more)) => {
            for (key, value) in more {
                let field = fields.remove(&key).unwrap_or(Value::Null);
                fields.insert(key, over(field, value));
            }
            below
        }
        (_, above) => above,
    }
}
