//! What every test here begins with: a database with a pair, an application under load, the controller as it ships
//! with exactly the rights that the policy needs, and the policy.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tandem::api::{RotationPolicy, RotationPolicyStatus};
use tandem::policy::Policy;
use tandem_lab::{
    ADMIN_SECRET, CA_CONFIG_MAP, CREDENTIALS_SECRET, Consumer, ConsumerOptions, Controller,
    ControllerOptions, Lab, Login, PostgresOptions, Stage, Tally, eventually,
};

/// Name of the policy in every scene.
pub(crate) const POLICY: &str = "app-db";
/// A rotation takes some ten seconds, and one with a crash loop in it some minutes on a busy machine; never this.
pub(crate) const LIMIT: Duration = Duration::from_mins(5);

/// Name of the file that says at which write the controller is to be killed.
pub(crate) const FAULT: &str = "fault";

/// Options of a controller that can be killed at a chosen write.
pub(crate) fn mortal() -> ControllerOptions {
    ControllerOptions::default().env("TANDEM_FAULT_FILE", &format!("/lab/own/{FAULT}"))
}

/// The same controller for the policies of one namespace.
pub(crate) fn watching(options: ControllerOptions, namespace: &str) -> ControllerOptions {
    ControllerOptions {
        watch: Some(namespace.to_owned()),
        ..options
    }
}

/// A database, an application, the controller and a policy.
pub(crate) struct Scene {
    pub(crate) lab: Lab,
    pub(crate) stage: Stage,
    pub(crate) controller: Controller,
    pub(crate) policies: Api<RotationPolicy>,
    usual: Value,
    nonces: AtomicU32,
}

impl Scene {
    /// A scene whose policy differs from the usual one by a merge patch. It is ready: preflight has passed.
    pub(crate) async fn new(lab: &Lab, name: &str, change: Value) -> Result<Self> {
        let scene = Self::unready(lab, name, change, ControllerOptions::default()).await?;
        scene.ready().await?;
        Ok(scene)
    }

    /// The same, with a controller of one's own choice, not waited for.
    pub(crate) async fn unready(
        lab: &Lab,
        name: &str,
        change: Value,
        options: ControllerOptions,
    ) -> Result<Self> {
        let namespace = lab.namespace(name).await?;
        let stage = namespace.stage(PostgresOptions::named("db")).await?;
        let usual = direct(&stage);
        let scene = Self::on(stage, usual, options).await?;
        scene.apply(change).await?;
        Ok(scene)
    }

    /// The controller on a stage, without the policy that is the usual one there.
    pub(crate) async fn on(stage: Stage, usual: Value, options: ControllerOptions) -> Result<Self> {
        let lab = stage.namespace.lab().clone();
        let binary = env!("CARGO_BIN_EXE_tandem");
        let controller = lab
            .controller(binary.as_ref(), watching(options, stage.namespace.name()))
            .await?;
        Ok(Self {
            lab,
            policies: stage.namespace.api(),
            stage,
            controller,
            usual,
            nonces: AtomicU32::new(0),
        })
    }

    /// Has the controller stand still before or after its n-th write from now on, for [`Scene::kill`].
    pub(crate) fn fault(&self, when: &str, write: usize) -> Result<()> {
        let file = self.controller.dir().join(FAULT);
        fs::write(&file, format!("{when} {write}"))?;
        // The controller is nobody in particular, and counts down in the file.
        Ok(fs::set_permissions(&file, fs::Permissions::from_mode(0o666))?)
    }

    /// Waits until the controller stands still where it was told to, and kills it there (SIGKILL).
    pub(crate) async fn kill(&self) -> Result<()> {
        let reached = self.controller.dir().join(FAULT).with_extension("reached");
        eventually("the controller to reach the fault", LIMIT, async || {
            Ok(reached.exists().then_some(()))
        })
        .await?;
        let kills = self.controller.restarts().await?;
        for pod in self.controller.pods().await? {
            let pid = process(pod.metadata.name.as_deref().unwrap_or_default())?;
            let killed = Command::new("kill")
                .args(["-KILL", &pid])
                .status()
                .context("cannot run kill")?;
            ensure!(killed.success(), "kill -KILL {pid} failed");
        }
        fs::remove_file(&reached)?;
        // That it was killed indeed: its container has been started again.
        eventually("the restart of the killed process", LIMIT, async || {
            Ok((self.controller.restarts().await? == kills + 1).then_some(()))
        })
        .await
    }

    /// Applies the policy, and the Role that it needs, with a merge patch over the usual one.
    pub(crate) async fn apply(&self, change: Value) -> Result<()> {
        let mut policy = self.usual.clone();
        merge(&mut policy, &change);
        let text = policy.to_string();
        // A policy that means nothing needs no rights, and `tandem rbac` says so.
        let object: RotationPolicy = serde_json::from_value(policy)?;
        if Policy::parse(&object).is_ok() {
            self.controller.grant(self.namespace(), &text).await?;
        }
        self.lab.apply(Some(self.namespace()), &text).await
    }

    /// The usual policy, as text.
    pub(crate) fn policy_text(&self) -> String {
        self.usual.to_string()
    }

    pub(crate) fn namespace(&self) -> &str {
        self.stage.namespace.name()
    }

    /// An application of this many pods that logs in all the time.
    pub(crate) async fn app(&self, name: &str, replicas: i32) -> Result<Consumer> {
        let options = ConsumerOptions::of(&self.stage.postgres)
            .named(name)
            .replicas(replicas);
        self.stage.namespace.consumer(options).await
    }

    /// Sets the rotate-now annotation to a value never used before, and returns it.
    pub(crate) async fn ask(&self) -> Result<String> {
        let nonce = format!("test-{}", self.nonces.fetch_add(1, Ordering::Relaxed) + 1);
        self.annotate(&nonce).await?;
        Ok(nonce)
    }

    /// Sets the rotate-now annotation.
    pub(crate) async fn annotate(&self, nonce: &str) -> Result<()> {
        self.patch(json!({"metadata": {"annotations": {"tandem.dev/rotate-now": nonce}}}))
            .await
    }

    /// Changes the policy by a merge patch.
    pub(crate) async fn patch(&self, change: Value) -> Result<()> {
        self.policies
            .patch(POLICY, &PatchParams::default(), &Patch::Merge(change))
            .await?;
        Ok(())
    }

    pub(crate) async fn status(&self) -> Result<RotationPolicyStatus> {
        Ok(self.policies.get(POLICY).await?.status.unwrap_or_default())
    }

    /// Waits until a condition has this status, and returns its reason and message.
    pub(crate) async fn condition(&self, kind: &str, status: &str) -> Result<(String, String)> {
        eventually(format!("condition {kind}={status}"), LIMIT, async || {
            let seen = self.status().await?;
            let Some(condition) = seen.conditions.into_iter().find(|c| c.type_ == kind) else {
                return Ok(None);
            };
            ensure!(
                condition.status == status,
                "{kind}={} {}: {}",
                condition.status,
                condition.reason,
                condition.message
            );
            Ok(Some((condition.reason, condition.message)))
        })
        .await
    }

    /// Waits until condition `Ready` or `Stalled` gives this reason, and returns its message.
    pub(crate) async fn reason(&self, reason: &str) -> Result<String> {
        eventually(format!("reason {reason}"), LIMIT, async || {
            let seen = self.status().await?;
            let Some(ready) = seen.conditions.into_iter().find(|c| c.type_ == "Ready") else {
                return Ok(None);
            };
            ensure!(
                ready.reason == reason,
                "Ready is {} {}: {}",
                ready.status,
                ready.reason,
                ready.message
            );
            Ok(Some(ready.message))
        })
        .await
    }

    /// Waits until preflight has passed and nothing runs.
    pub(crate) async fn ready(&self) -> Result<()> {
        self.condition("Ready", "True").await.map(drop)
    }

    /// Waits until the running rotation has reached this phase, or one after it.
    pub(crate) async fn phase(&self, phase: &str) -> Result<()> {
        let rank = |name: &str| {
            tandem::machine::Phase::ALL
                .iter()
                .position(|p| p.as_str() == name)
        };
        eventually(format!("phase {phase}"), LIMIT, async || {
            let seen = self.status().await?;
            let Some(rotation) = seen.rotation else {
                return Ok(None);
            };
            ensure!(
                rank(&rotation.phase) >= rank(phase),
                "phase is {}: {}",
                rotation.phase,
                rotation.message
            );
            Ok(Some(()))
        })
        .await
    }

    /// Waits until the rotation that answers this value has ended and the policy is ready again.
    pub(crate) async fn completed(&self, nonce: &str) -> Result<RotationPolicyStatus> {
        eventually(format!("the rotation for {nonce}"), LIMIT, async || {
            let seen = self.status().await?;
            if let Some(rotation) = &seen.rotation {
                bail!("phase is {}: {}", rotation.phase, rotation.message);
            }
            if seen.last_handled_rotate_now.as_deref() != Some(nonce) || seen.last_rotation.is_none() {
                let ready = seen.conditions.iter().find(|c| c.type_ == "Ready");
                bail!("not begun; {}", ready.map_or("no condition", |c| &c.message));
            }
            Ok(Some(seen))
        })
        .await
    }

    /// One rotation from asking to its end.
    pub(crate) async fn rotate(&self) -> Result<RotationPolicyStatus> {
        let nonce = self.ask().await?;
        self.completed(&nonce).await
    }

    /// Allows the administrator to keep the server from logging its statements.
    pub(crate) async fn may_hush(&self) -> Result<()> {
        let grant = "GRANT SET ON PARAMETER log_statement, log_min_duration_statement, log_min_error_statement, pg_stat_statements.track_utility TO rotator";
        self.stage.postgres.sql("postgres", grant).await.map(drop)
    }

    /// The credential that the application Secret carries.
    pub(crate) async fn credential(&self) -> Result<Login> {
        let data = self.secret().await?;
        let field = |key: &str| {
            data.get(key)
                .cloned()
                .with_context(|| format!("the Secret has no {key}"))
        };
        Ok(Login::new(&field("username")?, &field("password")?))
    }

    pub(crate) async fn secret(&self) -> Result<BTreeMap<String, String>> {
        self.stage.namespace.read_secret(CREDENTIALS_SECRET).await
    }

    /// Whether this credential logs in.
    pub(crate) async fn logs_in(&self, login: &Login) -> bool {
        self.stage
            .postgres
            .connect_as(&login.user, &login.password, &self.stage.pair.database)
            .await
            .is_ok()
    }

    /// Everybody can log in with what the Secret says, the one before is refused, and the application never failed.
    pub(crate) async fn sound(&self, before: &Login, apps: &[&Consumer]) -> Result<()> {
        let now = self.credential().await?;
        ensure!(
            now.user != before.user,
            "the users have not alternated: still {}",
            now.user
        );
        ensure!(self.logs_in(&now).await, "{} cannot log in", now.user);
        ensure!(
            !self.logs_in(before).await,
            "the old password of {} still logs in",
            before.user
        );
        for app in apps {
            unharmed(&app.tally()?)?;
        }
        Ok(())
    }

    /// The revision of a Deployment: how many times its pods were replaced, plus one.
    pub(crate) async fn revision(&self, deployment: &str) -> Result<u32> {
        let found: Deployment = self.stage.namespace.api().get(deployment).await?;
        let annotations = found.metadata.annotations.unwrap_or_default();
        let revision = annotations
            .get("deployment.kubernetes.io/revision")
            .context("no revision yet")?;
        Ok(revision.parse()?)
    }
}

/// The usual policy of a stage: direct delivery.
pub(crate) fn direct(stage: &Stage) -> Value {
    json!({
        "apiVersion": "tandem.dev/v1alpha1",
        "kind": "RotationPolicy",
        "metadata": {"name": POLICY, "namespace": stage.namespace.name()},
        "spec": {
            "users": [stage.pair.a.user, stage.pair.b.user],
            "database": {
                "host": stage.postgres.host(),
                "name": stage.pair.database,
                "admin": {"secretRef": {"name": ADMIN_SECRET}},
                "tls": {"caRef": {"kind": "ConfigMap", "name": CA_CONFIG_MAP}},
                "effectiveRole": stage.pair.owner,
                "smokeQuery": "SELECT 1 FROM orders LIMIT 0",
            },
            "delivery": {"secret": {
                "name": CREDENTIALS_SECRET,
                "templates": {"DATABASE_URL": "postgresql://{username:uri}:{password:uri}@db:5432/appdb"},
            }},
            "drain": {"quietFor": "1s"},
        }
    })
}

/// The controller's process in this pod, as the machine numbers it.
fn process(pod: &str) -> Result<String> {
    let variable = format!("LAB_POD={pod}");
    for entry in fs::read_dir("/proc").context("cannot read /proc")? {
        let path = entry?.path();
        let Ok(environment) = fs::read(path.join("environ")) else {
            continue;
        };
        if environment
            .split(|byte| *byte == 0)
            .any(|entry| entry == variable.as_bytes())
        {
            return Ok(path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned());
        }
    }
    bail!("no process of pod {pod}")
}

/// Not one login failed, and some were tried.
pub(crate) fn unharmed(tally: &Tally) -> Result<()> {
    ensure!(tally.attempts > 0, "the application never tried to log in");
    ensure!(
        tally.failed_logins() == 0 && tally.more_failures == 0,
        "logins failed: {:?}",
        tally.failures
    );
    Ok(())
}

/// JSON merge patch (RFC 7396).
pub(crate) fn merge(target: &mut Value, change: &Value) {
    match (target, change) {
        (Value::Object(target), Value::Object(change)) => {
            for (key, value) in change {
                if value.is_null() {
                    target.remove(key);
                } else {
                    merge(target.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (target, change) => *target = change.clone(),
    }
}
