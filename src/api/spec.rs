//! The custom resource: what a user may write, with the rules the API server enforces at admission.

#![expect(
    unreachable_pub,
    reason = "the schema derive repeats each struct inside a function"
)]

mod database;
mod delivery;
mod rollout;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::status::RotationPolicyStatus;

pub(in crate::api) use database::default_port;
pub use database::{
    AdminSecretRef, AdminSpec, CaKind, CaRef, CertificateRef, DatabaseSpec, TlsMode, TlsSpec, TlsVersion,
};
pub use delivery::{AwsSecretSpec, DeliverySpec, ExternalSecretDelivery, SecretDelivery, SecretKeys};
pub use rollout::{
    DrainSpec, OnActiveSessions, OnFailure, RestartMode, RestartSpec, RetireMode, RetireSpec, TargetKind,
    TargetSpec,
};

/// Rotates the password of one application by alternating between two PostgreSQL users: while one serves, the
/// other gets a new password, is proven, takes over, and only when nothing uses the first any more is its
/// password replaced too.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "tandem.dev",
    version = "v1alpha1",
    kind = "RotationPolicy",
    namespaced,
    shortname = "rotpol",
    category = "tandem",
    status = "RotationPolicyStatus",
    doc = "Rotates the credential of one application between two PostgreSQL users.",
    derive = "PartialEq",
    validation = ("self.metadata.name.size() <= 63", "the name of a policy is at most 63 characters long: it names an annotation on workloads"),
    printcolumn(name = "Active", type_ = "string", json_path = ".status.activeUser", description = "user the application Secret names"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.rotation.phase", description = "phase of the running rotation"),
    printcolumn(name = "Changed", type_ = "date", json_path = ".status.credentialChangedAt", description = "age of the password in use"),
    printcolumn(name = "Next", type_ = "string", json_path = ".status.nextRotationAt", description = "next scheduled rotation"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status", description = "whether the credential is in order and rotation can run"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.rotation.message", priority = 1, description = "what the running rotation waits for")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(self.restart) || self.restart.mode != 'None' || !has(self.restart.targets) || size(self.restart.targets) == 0", "restart.targets has no meaning with restart.mode None"))]
#[x_kube(validation = ("!has(self.restart) || self.restart.mode != 'None' || self.restart.onFailure != 'RollBack'", "restart.onFailure RollBack has no meaning with restart.mode None"))]
#[x_kube(validation = ("!has(self.database.admin.function) || !has(self.retire) || self.retire.mode != 'NoLogin'", "a function changes passwords only: retire.mode must be Scramble with database.admin.function"))]
pub struct RotationPolicySpec {
    /// Stands still before the next side effect while true; nothing is lost and it goes on where it stood.
    #[serde(default)]
    pub suspend: bool,

    /// The pair: two different login roles that exist already. Tandem never creates or drops a role.
    #[schemars(length(min = 2, max = 2), inner(length(min = 1, max = 63)))]
    #[x_kube(validation = ("self[0] != self[1]", "users must name two different roles"))]
    pub users: Vec<String>,

    /// Where the passwords are changed and the logins proven.
    pub database: DatabaseSpec,

    /// What generated passwords look like.
    #[serde(default)]
    pub password: PasswordSpec,

    /// How the credential reaches the application Secret.
    pub delivery: DeliverySpec,

    /// When to rotate; without it only the rotate-now annotation starts a rotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleSpec>,

    /// How the workloads that use the Secret come to the new credential.
    #[serde(default)]
    pub restart: RestartSpec,

    /// The proof that nothing uses the old user any more.
    #[serde(default)]
    pub drain: DrainSpec,

    /// What happens to the old user after the proof.
    #[serde(default)]
    pub retire: RetireSpec,

    /// How often an idle policy is checked on the primary: that the active credential logs in, and that the retired
    /// password is refused. Between 10s and 24h.
    #[serde(default = "default_check_every")]
    #[schemars(length(min = 2, max = 32))]
    pub check_every: String,

    /// How many finished rotations status.history keeps.
    #[serde(default = "default_history_limit")]
    #[schemars(range(min = 0, max = 50))]
    pub history_limit: u32,
}

/// Shape of generated passwords: letters and digits, first a letter, so that every driver, URI and shell takes
/// them as they are (R37).
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PasswordSpec {
    /// Number of characters; 32 carry 190 bits.
    #[serde(default = "default_length")]
    #[schemars(range(min = 20, max = 99))]
    pub length: u8,
    /// Adds one of `-` and `_`, for servers whose policy demands a symbol.
    #[serde(default)]
    pub symbols: bool,
}

/// When to rotate. Exactly one of `cron` and `every`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.cron) != has(self.every)", "exactly one of cron and every"))]
#[x_kube(validation = ("!has(self.timeZone) || has(self.cron)", "timeZone has no meaning without cron"))]
#[x_kube(validation = ("!has(self.window) || has(self.cron)", "window has no meaning without cron"))]
#[x_kube(validation = ("!has(self.window) || duration(self.window) >= duration('1m')", "a window is at least one minute long"))]
pub struct ScheduleSpec {
    /// Five fields: minute, hour, day of month, month, day of week.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 9, max = 100))]
    pub cron: Option<String>,
    /// Interval since the start of the last rotation, in days, hours and minutes: `30d`, `12h`, `1d12h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        regex(pattern = r"^([1-9][0-9]{0,3}d)?([1-9][0-9]{0,3}h)?([1-9][0-9]{0,3}m)?$"),
        length(min = 2)
    )]
    pub every: Option<String>,
    /// IANA time zone in which `cron` is read; UTC when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
    /// How long after each time of `cron` side effects that touch applications may still start; without it there is no
    /// limit. A rotate-now outside it waits for the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        regex(pattern = r"^([0-9]{1,4}h)?([0-9]{1,4}m)?([0-9]{1,4}s)?$"),
        length(min = 2)
    )]
    pub window: Option<String>,
    /// Spreads policies that are due together: each waits its own fixed part of this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        regex(pattern = r"^([0-9]{1,4}h)?([0-9]{1,4}m)?([0-9]{1,4}s)?$"),
        length(min = 2)
    )]
    pub jitter: Option<String>,
    /// What a missed time means: `Once` makes up for any number of missed times with one rotation, `Skip` waits for the next.
    #[serde(default)]
    pub catch_up: CatchUp,
}

/// See [`ScheduleSpec::catch_up`].
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CatchUp {
    /// One rotation makes up for all missed times.
    #[default]
    Once,
    /// Missed times are let go.
    Skip,
}

impl Default for PasswordSpec {
    fn default() -> Self {
        Self {
            length: default_length(),
            symbols: false,
        }
    }
}

fn default_length() -> u8 {
    32
}
fn default_check_every() -> String {
    "1h".to_owned()
}

fn default_history_limit() -> u32 {
    10
}
