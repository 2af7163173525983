//! A rotation by Tandem, watched as a person would watch it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::{Value, json};
use tandem_lab::{
    Audit, CREDENTIALS_SECRET, Consumer, Controller, ControllerOptions, Lab, Login, Postgres, Stage,
};

use super::delivery::Route;
use super::{failed, say};

const POLICY: &str = "app-db";
/// A rotation of this size takes some ten seconds.
const LIMIT: Duration = Duration::from_mins(5);
/// In the order in which a rotation passes through them.
pub(super) const PHASES: [&str; 9] = [
    "Staged",
    "Altered",
    "Verified",
    "Flipped",
    "Delivered",
    "Restarted",
    "RolledOut",
    "Drained",
    "Retired",
];

/// The controller and its one policy.
pub(super) struct Tandem {
    policies: Api<DynamicObject>,
    audit: Audit,
    _controller: Controller,
}

/// What was seen of one rotation.
pub(super) struct Rotation {
    reached: Vec<(String, Duration)>,
    /// Writes of the controller, those for people included.
    pub(super) writes: usize,
    /// Status patches and Events among them.
    pub(super) told: usize,
    /// Calls of the controller to the store, where there is one.
    pub(super) calls: Option<usize>,
    /// What was in the Secret before.
    old: Login,
    /// That it does not log in any more.
    pub(super) old_refused: bool,
}

impl Rotation {
    /// When a phase was first seen to hold, counted from the annotation.
    pub(super) fn reached(&self, phase: &str) -> Option<Duration> {
        self.reached
            .iter()
            .find(|(name, _)| name == phase)
            .map(|(_, at)| *at)
    }

    pub(super) fn is_sound(&self) -> bool {
        self.old_refused
    }

    /// Tries what was in the Secret before.
    pub(super) async fn try_old(&mut self, server: &Postgres, database: &str) {
        let Login { user, password } = &self.old;
        self.old_refused = server.connect_as(user, password, database).await.is_err();
    }
}

/// Where the applications log in.
pub(super) struct Doors {
    /// `spec.database.host`.
    pub(super) host: String,
    /// `spec.database.endpoints`.
    pub(super) endpoints: Value,
}

impl Doors {
    /// At one server.
    pub(super) fn of(server: &Postgres) -> Self {
        Self {
            host: server.host(),
            endpoints: json!([]),
        }
    }
}

/// Installs the controller as it ships, gives it exactly the rights that the policy needs, and waits until preflight
/// has passed.
pub(super) async fn install(
    lab: &Lab,
    stage: &Stage,
    doors: &Doors,
    route: &Route,
    binary: &Path,
) -> Result<Tandem> {
    let namespace = stage.namespace.name();
    let options = ControllerOptions {
        env: route.environment(),
        ..ControllerOptions::watching(namespace).replicas(2)
    };
    let controller = lab.controller(binary, options).await?;
    let policy = policy(stage, doors, route);
    controller.grant(namespace, &policy).await?;
    lab.apply(Some(namespace), &policy).await?;
    let kind = GroupVersionKind::gvk("tandem.dev", "v1alpha1", "RotationPolicy");
    let resource = ApiResource::from_gvk_with_plural(&kind, "rotationpolicies");
    let policies = Api::namespaced_with(lab.admin(), namespace, &resource);
    let tandem = Tandem {
        policies,
        audit: lab
            .audit()
            .service_account(controller.namespace(), controller.service_account()),
        _controller: controller,
    };
    tandem_lab::eventually("the policy to be ready", LIMIT, async || {
        let status = tandem.status().await?;
        let ready = condition(&status, "Ready");
        if text(&ready, "/status") == "True" {
            Ok(Some(()))
        } else {
            bail!("{}", text(&ready, "/message"))
        }
    })
    .await?;
    say("  Ready: preflight has passed, nothing has been changed.");
    Ok(tandem)
}

fn policy(stage: &Stage, doors: &Doors, route: &Route) -> String {
    let users = [&stage.pair.a.user, &stage.pair.b.user];
    json!({
        "apiVersion": "tandem.dev/v1alpha1",
        "kind": "RotationPolicy",
        "metadata": {"name": POLICY, "namespace": stage.namespace.name()},
        "spec": {
            "users": users,
            "database": {
                "host": doors.host,
                "endpoints": doors.endpoints,
                "name": stage.pair.database,
                "admin": {"secretRef": {"name": tandem_lab::ADMIN_SECRET}},
                "tls": {"caRef": {"kind": "ConfigMap", "name": tandem_lab::CA_CONFIG_MAP}},
                "smokeQuery": "SELECT 1 FROM orders LIMIT 0",
            },
            "delivery": route.delivery(),
            "drain": {"quietFor": "2s"},
        }
    })
    .to_string()
}

impl Tandem {
    /// Rotates once, and says what can be seen meanwhile.
    pub(super) async fn rotate(&self, stage: &Stage, route: &Route, app: &Consumer) -> Result<Rotation> {
        let mut rotation = self.watch(stage, route, app).await?;
        rotation.try_old(&stage.postgres, &stage.pair.database).await;
        Ok(rotation)
    }

    /// Waits until the running rotation is in a phase.
    pub(super) async fn reached(&self, phase: &str) -> Result<()> {
        tandem_lab::eventually(format!("phase {phase}"), LIMIT, async || {
            let status = self.status().await?;
            Ok((text(&status, "/rotation/phase") == phase).then_some(()))
        })
        .await
    }

    /// The same as [`Tandem::rotate`], but for the last question: whether what was there before is refused.
    pub(super) async fn watch(&self, stage: &Stage, route: &Route, app: &Consumer) -> Result<Rotation> {
        let before = stage.namespace.read_secret(CREDENTIALS_SECRET).await?;
        let old = Login::new(field(&before, "username")?, field(&before, "password")?);
        let tally = app.tally()?;
        let (failed_before, refused_before) = (failed(&tally), tally.refused_logins());
        let audit = self.audit.clone().from_here()?;
        let calls_before = route.calls();
        let nonce = Timestamp::now().to_string();
        let change = json!({"metadata": {"annotations": {"tandem.dev/rotate-now": nonce}}});
        self.policies
            .patch(POLICY, &PatchParams::default(), &Patch::Merge(change))
            .await?;

        let started = Instant::now();
        let mut reached: Vec<(String, Duration)> = Vec::new();
        let mut said = String::new();
        loop {
            let status = self.status().await?;
            let rotation = status.pointer("/rotation").cloned().unwrap_or_default();
            let phase = text(&rotation, "/phase");
            if let Some(index) = PHASES.iter().position(|known| *known == phase) {
                // A phase that was passed over between two looks held no later than the one after it.
                for passed in PHASES.iter().take(index + 1) {
                    if !reached.iter().any(|(name, _)| name == passed) {
                        reached.push(((*passed).to_owned(), started.elapsed()));
                    }
                }
            }
            let ended = text(&status, "/lastHandledRotateNow") == nonce && rotation.is_null();
            let waits = text(&rotation, "/message");
            let line = if ended {
                "Completed".to_owned()
            } else {
                format!("{phase:<10} {waits}")
            };
            if line != said && (ended || !phase.is_empty()) {
                let tally = app.tally()?;
                let failed = failed(&tally) - failed_before;
                let refused = tally.refused_logins() - refused_before;
                say(&format!(
                    "  {:5.1} s  logins failed: {failed}, for their password: {refused}  {line}",
                    started.elapsed().as_secs_f64()
                ));
                said = line;
            }
            if ended {
                break;
            }
            if started.elapsed() > LIMIT {
                bail!(
                    "the rotation has not ended after {} s; it says: {waits}",
                    LIMIT.as_secs()
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let held = started.elapsed();
        for phase in PHASES {
            if !reached.iter().any(|(name, _)| name == phase) {
                reached.push((phase.to_owned(), held));
            }
        }
        let requests = audit.read()?;
        let writes: Vec<_> = requests
            .iter()
            .filter(|r| r.is_write() && r.resource != "leases")
            .collect();
        let told = writes
            .iter()
            .filter(|r| r.resource == "events" || r.subresource.as_deref() == Some("status"));
        Ok(Rotation {
            reached,
            writes: writes.len(),
            told: told.count(),
            calls: route
                .calls()
                .zip(calls_before)
                .map(|(after, before)| after - before),
            old,
            old_refused: false,
        })
    }

    async fn status(&self) -> Result<Value> {
        let policy = self.policies.get(POLICY).await?;
        Ok(policy.data.get("status").cloned().unwrap_or_default())
    }
}

/// The text at a place; empty when there is none.
fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn condition(status: &Value, kind: &str) -> Value {
    let conditions = status.get("conditions").and_then(Value::as_array);
    conditions
        .and_then(|all| all.iter().find(|c| text(c, "/type") == kind))
        .cloned()
        .unwrap_or_default()
}

fn field<'a>(secret: &'a std::collections::BTreeMap<String, String>, key: &str) -> Result<&'a str> {
    secret
        .get(key)
        .map(String::as_str)
        .with_context(|| format!("the Secret has no {key}"))
}
