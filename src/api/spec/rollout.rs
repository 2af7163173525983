//! What follows a delivery: restarts, the drain, and the retirement of the old user.

#![expect(
    unreachable_pub,
    reason = "the schema derive repeats each struct inside a function"
)]

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who restarts the workloads that use the Secret.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RestartSpec {
    /// `Auto`: what a running Stakater Reloader restarts by its own rules is left to it, and restarted by Tandem in the
    /// same form when that does not happen in time; every other workload whose pods use the Secret is restarted by
    /// Tandem. `Reloader`: Tandem restarts nothing, and waits. `Controller`: Tandem restarts everything at once; where
    /// Reloader does so too, pods are replaced twice. `None`: the applications read the Secret again by themselves,
    /// and the drain alone decides.
    #[serde(default)]
    pub mode: RestartMode,
    /// Further workloads that use the credential without naming the Secret.
    #[serde(default)]
    #[schemars(length(max = 50))]
    pub targets: Vec<TargetSpec>,
    /// How many workloads roll at the same time.
    #[serde(default = "default_max_concurrent")]
    #[schemars(range(min = 1, max = 100))]
    pub max_concurrent: u32,
    /// After this time a rollout that has not ended is reported as stalled; both credentials stay valid.
    #[serde(default = "default_restart_timeout")]
    #[schemars(
        regex(pattern = r"^([0-9]{1,4}h)?([0-9]{1,4}m)?([0-9]{1,4}s)?$"),
        length(min = 2)
    )]
    pub timeout: String,
    /// What happens when a rollout fails: `Hold` keeps both credentials valid and goes on by itself once it is mended;
    /// `RollBack` puts the previous credential back and restarts again what had been restarted.
    #[serde(default)]
    pub on_failure: OnFailure,
}

/// See [`RestartSpec::on_failure`].
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Both credentials stay valid until somebody mends it.
    #[default]
    Hold,
    /// The previous credential is put back.
    RollBack,
}

/// See [`RestartSpec::mode`].
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RestartMode {
    /// Tandem sees to it that every consumer is restarted, by Reloader where that runs and would do it.
    #[default]
    Auto,
    /// Only Reloader restarts; Tandem waits for it.
    Reloader,
    /// Tandem restarts every consumer itself.
    Controller,
    /// Nobody restarts anything.
    None,
}

/// A workload named by kind and name, or several by kind and labels.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.name) != has(self.matchLabels)", "exactly one of name and matchLabels"))]
pub struct TargetSpec {
    /// Kind of the workload.
    pub kind: TargetKind,
    /// Name of the workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub name: Option<String>,
    /// Labels of the workloads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minProperties" = 1))]
    pub match_labels: Option<BTreeMap<String, String>>,
}

/// Kinds of workload that Tandem can restart.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TargetKind {
    /// apps/v1 Deployment.
    Deployment,
    /// apps/v1 `StatefulSet`.
    StatefulSet,
    /// apps/v1 `DaemonSet`.
    DaemonSet,
    /// argoproj.io/v1alpha1 `Rollout`.
    Rollout,
}

/// The proof that no session of the old user is left.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DrainSpec {
    /// How long the old user must have no session before it is retired, poll after poll.
    #[serde(default = "default_quiet_for")]
    #[schemars(
        regex(pattern = r"^([0-9]{1,4}h)?([0-9]{1,4}m)?([0-9]{1,4}s)?$"),
        length(min = 2)
    )]
    pub quiet_for: String,
    /// After this time remaining sessions are reported as stalled, or ended, see `onActiveSessions`.
    #[serde(default = "default_drain_timeout")]
    #[schemars(
        regex(pattern = r"^([0-9]{1,4}h)?([0-9]{1,4}m)?([0-9]{1,4}s)?$"),
        length(min = 2)
    )]
    pub timeout: String,
    /// What happens to sessions of the old user at the timeout: `Wait` for them, or `Terminate` them.
    #[serde(default)]
    pub on_active_sessions: OnActiveSessions,
}

/// See [`DrainSpec::on_active_sessions`].
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnActiveSessions {
    /// They are waited for, for ever, and named in the status.
    #[default]
    Wait,
    /// They are ended with `pg_terminate_backend`.
    Terminate,
}

/// What happens to the old user once nothing uses it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RetireSpec {
    /// `Scramble` gives it a password that nobody holds; `NoLogin` also takes its right to log in until its next turn.
    #[serde(default)]
    pub mode: RetireMode,
    /// Time to keep the old credential valid after the rollout has ended.
    #[serde(default = "default_retire_after")]
    #[schemars(
        regex(pattern = r"^([0-9]{1,4}h)?([0-9]{1,4}m)?([0-9]{1,4}s)?$"),
        length(min = 2)
    )]
    pub after: String,
}

/// See [`RetireSpec::mode`].
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetireMode {
    /// A password that nobody holds.
    #[default]
    Scramble,
    /// The same, and NOLOGIN.
    NoLogin,
}

impl Default for RestartSpec {
    fn default() -> Self {
        Self {
            mode: RestartMode::default(),
            targets: Vec::new(),
            max_concurrent: default_max_concurrent(),
            timeout: default_restart_timeout(),
            on_failure: OnFailure::default(),
        }
    }
}

impl Default for DrainSpec {
    fn default() -> Self {
        Self {
            quiet_for: default_quiet_for(),
            timeout: default_drain_timeout(),
            on_active_sessions: OnActiveSessions::default(),
        }
    }
}

impl Default for RetireSpec {
    fn default() -> Self {
        Self {
            mode: RetireMode::default(),
            after: default_retire_after(),
        }
    }
}

fn default_max_concurrent() -> u32 {
    5
}

fn default_restart_timeout() -> String {
    "30m".into()
}

fn default_quiet_for() -> String {
    "60s".into()
}

fn default_drain_timeout() -> String {
    "2h".into()
}

fn default_retire_after() -> String {
    "0s".into()
}
