//! The real world: the effects as they ship, with exactly the rights that the policy needs, on a cluster with
//! PostgreSQL; and how its surroundings change.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::reflector;
use serde_json::{Value, json};
use tandem::api::{DELIVERED_BY, DELIVERED_FOR, FINALIZER, ROTATE_NOW, RotationPolicy, journal_name};
use tandem::effects::fault::Fault;
use tandem::effects::leadership::Leadership;
use tandem::effects::live::{Hands, Live};
use tandem::effects::places::{Limits, Places};
use tandem::effects::store::Stores;
use tandem::telemetry::metrics::Metrics;
use tandem_lab::{
    ADMIN_SECRET, CA_CONFIG_MAP, CREDENTIALS_SECRET, Lab, PostgresOptions, Stage, Stop, eventually,
};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::place::{Change, NONCE, Place};

const POLICY: &str = "app-db";
const LIMIT: Duration = Duration::from_mins(1);

/// One controller process, one policy, and everything around it.
pub(crate) struct Scene {
    stage: Stage,
    hands: Hands,
    object: RotationPolicy,
    _lease: watch::Sender<Option<Instant>>,
}

impl Scene {
    /// In order, with one Deployment when there are to be pods, and spec fields of one's own.
    pub(crate) async fn new(lab: &Lab, name: &str, pods: bool, changes: &Value) -> Result<Self> {
        let namespace = lab.namespace(name).await?;
        let crd = tandem::manifest::crd()?;
        let (stage, ()) = tokio::try_join!(
            namespace.stage(PostgresOptions::named("db")),
            lab.apply(None, &crd)
        )?;
        // What ending sessions takes, besides what the usual administrator may do.
        let grant = format!("GRANT pg_signal_backend TO {}", stage.pair.admin.user);
        stage.postgres.sql("postgres", &grant).await?;
        let policy = policy(&stage, changes);
        let policies: Api<RotationPolicy> = namespace.api();
        let wanted: RotationPolicy = serde_json::from_value(policy.clone())?;
        let object = eventually("the CRD to be served", LIMIT, async || {
            Ok(Some(policies.create(&PostParams::default(), &wanted).await?))
        })
        .await?;
        let mut objects = rights(&stage, &policy)?;
        if pods {
            objects.push(deployment().to_string());
        }
        namespace.apply(&objects.join("\n---\n")).await?;
        let client = lab.client_as(namespace.name(), "tandem").await?;
        let (lease, until) = watch::channel(Some(Instant::now() + Duration::from_hours(1)));
        let (policies, _) = reflector::store();
        let metrics = Arc::new(Metrics::default());
        let ten = NonZeroUsize::new(10).context("ten is not zero")?;
        let limits = Limits {
            per_namespace: ten,
            per_server: ten,
        };
        let (places, _) = Places::new(policies, limits);
        let hands = Hands::new(
            &client,
            "conformance",
            Leadership::new(until),
            places,
            Stores::from_environment(Arc::clone(&metrics)).await,
            metrics,
            Fault::new(None),
        );
        let scene = Self {
            stage,
            hands,
            object,
            _lease: lease,
        };
        if pods {
            scene.rolled_out().await?;
        }
        Ok(scene)
    }

    /// One controller process there.
    pub(crate) fn place(&self) -> Real<'_> {
        Real {
            scene: self,
            live: self.hands.world(&self.object),
            session: None,
        }
    }

    fn secrets(&self) -> Api<Secret> {
        self.stage.namespace.api()
    }

    async fn patch(&self, secret: &str, change: Value) -> Result<()> {
        self.secrets()
            .patch(secret, &PatchParams::default(), &Patch::Merge(change))
            .await?;
        Ok(())
    }

    async fn edit(&self, change: Value) -> Result<()> {
        let policies: Api<RotationPolicy> = self.stage.namespace.api();
        policies
            .patch(POLICY, &PatchParams::default(), &Patch::Merge(change))
            .await?;
        Ok(())
    }

    async fn sql(&self, statement: String) -> Result<()> {
        self.stage.postgres.sql("postgres", &statement).await.map(drop)
    }

    fn role(&self, user: usize) -> &str {
        let pair = &self.stage.pair;
        if user == 0 { &pair.a.user } else { &pair.b.user }
    }

    /// Waits until there is one pod, of the template as it is now.
    async fn rolled_out(&self) -> Result<()> {
        let deployments: Api<k8s_openapi::api::apps::v1::Deployment> = self.stage.namespace.api();
        let pods: Api<Pod> = self.stage.namespace.api();
        eventually("the rollout of web", LIMIT, async || {
            let found = deployments.get("web").await?;
            let status = found.status.unwrap_or_default();
            ensure!(
                status.observed_generation == found.metadata.generation
                    && status.updated_replicas == Some(1)
                    && status.available_replicas == Some(1),
                "not rolled out: {status:?}"
            );
            let count = pods
                .list(&ListParams::default().labels("app=web"))
                .await?
                .items
                .len();
            ensure!(count == 1, "there are {count} pods");
            Ok(Some(()))
        })
        .await
    }

    async fn pod(&self) -> Result<String> {
        let pods: Api<Pod> = self.stage.namespace.api();
        let list = pods.list(&ListParams::default().labels("app=web")).await?;
        let name = list.items.first().and_then(|pod| pod.metadata.name.clone());
        name.context("there is no pod")
    }

    async fn sessions_ended(&self) -> Result<()> {
        let count = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = '{}'",
            self.role(0)
        );
        eventually("the end of the sessions", LIMIT, async || {
            let left = self.stage.postgres.value("postgres", &count).await?;
            ensure!(left.as_deref() == Some("0"), "left: {left:?}");
            Ok(Some(()))
        })
        .await
    }
}

/// One controller process in the real world.
pub(crate) struct Real<'a> {
    scene: &'a Scene,
    live: Live<'a>,
    session: Option<tokio_postgres::Client>,
}

impl<'a> Place for Real<'a> {
    type World = Live<'a>;

    fn world(&mut self) -> &mut Self::World {
        &mut self.live
    }

    async fn change(&mut self, change: Change) -> Result<()> {
        let scene = self.scene;
        let pair = &scene.stage.pair;
        let first = json!({"stringData": {"username": pair.a.user, "password": pair.a.password}});
        let journal = journal_name(POLICY);
        match change {
            Change::TouchSecret => scene.patch(CREDENTIALS_SECRET, touch()).await,
            Change::MeddleWithSecret => {
                let change = json!({"stringData": {"password": "somebody-elses"}});
                scene.patch(CREDENTIALS_SECRET, change).await
            }
            Change::ApplySecret => scene.patch(CREDENTIALS_SECRET, first).await,
            Change::ReplaceSecret => {
                let whole: Secret = serde_json::from_value(json!({
                    "metadata": {"name": CREDENTIALS_SECRET},
                    "stringData": first["stringData"],
                }))?;
                let (secrets, params) = (scene.secrets(), PostParams::default());
                if secrets.get_opt(CREDENTIALS_SECRET).await?.is_some() {
                    secrets.replace(CREDENTIALS_SECRET, &params, &whole).await?;
                } else {
                    secrets.create(&params, &whole).await?;
                }
                Ok(())
            }
            Change::NameStranger => {
                let change = json!({"stringData": {"username": "stranger"}});
                scene.patch(CREDENTIALS_SECRET, change).await
            }
            Change::UnmarkSecret => {
                let change = json!({"metadata": {"annotations": {DELIVERED_BY: null, DELIVERED_FOR: null}}});
                scene.patch(CREDENTIALS_SECRET, change).await
            }
            Change::DeleteSecret => delete(&scene.secrets(), CREDENTIALS_SECRET).await,
            Change::TouchJournal => scene.patch(&journal, touch()).await,
            Change::DeleteJournal => delete(&scene.secrets(), &journal).await,
            Change::CorruptJournal => {
                let change = json!({"stringData": {"journal.json": "{\"schema\": 1, \"number\": \"many\"}"}});
                scene.patch(&journal, change).await
            }
            Change::Suspend => scene.edit(json!({"spec": {"suspend": true}})).await,
            Change::Resume => scene.edit(json!({"spec": {"suspend": false}})).await,
            Change::DeletePolicy => {
                let policies: Api<RotationPolicy> = scene.stage.namespace.api();
                delete(&policies, POLICY).await
            }
            Change::Finalize => scene.edit(json!({"metadata": {"finalizers": null}})).await,
            Change::SetPassword(user) => {
                let user = scene.role(user);
                scene
                    .sql(format!("ALTER ROLE {user} LOGIN PASSWORD 'somebody-elses'"))
                    .await
            }
            Change::NoLogin(user) => {
                scene
                    .sql(format!("ALTER ROLE {} NOLOGIN", scene.role(user)))
                    .await
            }
            Change::OpenSession => {
                let postgres = &scene.stage.postgres;
                let session = postgres.connect_as(&pair.a.user, &pair.a.password, &pair.database);
                self.session = Some(session.await?);
                Ok(())
            }
            Change::EndSession => {
                self.session = None;
                scene.sessions_ended().await
            }
            Change::SessionsEnded => scene.sessions_ended().await,
            Change::DatabaseDown => scene.stage.postgres.stop(Stop::Immediate).await,
            Change::DatabaseUp => scene.stage.postgres.start().await,
            Change::TimePasses => {
                tokio::time::sleep(Duration::from_millis(1_100)).await;
                Ok(())
            }
            Change::ReplacePod => {
                let (pods, name): (Api<Pod>, _) = (scene.stage.namespace.api(), scene.pod().await?);
                delete(&pods, &name).await?;
                eventually("the end of the pod", LIMIT, async || {
                    ensure!(pods.get_opt(&name).await?.is_none(), "{name} is still there");
                    Ok(Some(()))
                })
                .await?;
                scene.rolled_out().await
            }
            Change::RolledOut => scene.rolled_out().await,
        }
    }
}

/// A change that changes nothing but the version; the same label twice would not even do that.
fn touch() -> Value {
    let now = jiff::Timestamp::now().as_microsecond().to_string();
    json!({"metadata": {"labels": {"touched": now}}})
}

async fn delete<K>(api: &Api<K>, name: &str) -> Result<()>
where
    K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    api.delete(name, &DeleteParams::default()).await?;
    Ok(())
}

fn policy(stage: &Stage, changes: &Value) -> Value {
    let mut spec = json!({
        "users": [stage.pair.a.user, stage.pair.b.user],
        "database": {
            "host": stage.postgres.host(),
            "name": stage.pair.database,
            "admin": {"secretRef": {"name": ADMIN_SECRET}},
            "tls": {"caRef": {"kind": "ConfigMap", "name": CA_CONFIG_MAP}},
            "effectiveRole": stage.pair.owner,
        },
        "delivery": {"secret": {
            "name": CREDENTIALS_SECRET,
            "templates": {"DATABASE_URL": "postgresql://{username:uri}:{password:uri}@db:5432/appdb"},
        }},
        "drain": {"quietFor": "0s"},
    });
    for (key, value) in changes.as_object().unwrap() {
        spec[key] = value.clone();
    }
    json!({
        "apiVersion": "tandem.dev/v1alpha1",
        "kind": "RotationPolicy",
        "metadata": {
            "name": POLICY,
            "namespace": stage.namespace.name(),
            "annotations": {ROTATE_NOW: NONCE},
            "finalizers": [FINALIZER],
        },
        "spec": spec,
    })
}

/// A service account with what `tandem rbac` prints, and with what the controller has besides.
fn rights(stage: &Stage, policy: &Value) -> Result<Vec<String>> {
    let namespace = stage.namespace.name();
    let printed = tandem::manifest::rbac::rbac(&policy.to_string(), &[], &[], namespace, "tandem")?;
    let account = "{apiVersion: v1, kind: ServiceAccount, metadata: {name: tandem}}";
    let own = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "policies"},
        "rules": [
            {"apiGroups": ["tandem.dev"], "resources": ["rotationpolicies"], "verbs": ["get", "list", "watch", "patch"]},
            {"apiGroups": ["tandem.dev"], "resources": ["rotationpolicies/status"], "verbs": ["patch"]},
        ],
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "policies"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "policies"},
        "subjects": [{"kind": "ServiceAccount", "name": "tandem", "namespace": namespace}],
    });
    Ok(vec![
        account.to_owned(),
        own.to_string(),
        binding.to_string(),
        printed,
    ])
}

/// A Deployment that loads the Secret and opens no session. Its rollout takes a moment, so that it can be seen.
fn deployment() -> Value {
    let variable = json!({"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": CREDENTIALS_SECRET, "key": "password"}}});
    let container = json!({
        "name": "main", "image": "lab.local/empty:1", "imagePullPolicy": "Never", "env": [variable],
        "command": ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.2; done"],
    });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "minReadySeconds": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"terminationGracePeriodSeconds": 5, "containers": [container]},
            },
        },
    })
}
