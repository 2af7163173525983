//! The custom resource: what a user may write, with the rules the API server enforces at admission.

#![expect(
    unreachable_pub,
    reason = "the schema derive repeats each struct inside a function"
)]

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::endpoint::EndpointSpec;
use super::status::RotationPolicyStatus;

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

    /// How many finished rotations status.history keeps.
    #[serde(default = "default_history_limit")]
    #[schemars(range(min = 0, max = 50))]
    pub history_limit: u32,
}

/// The primary server and how Tandem reaches it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(self.endpoints) || self.endpoints.all(e, e.host != self.host || e.port != self.port)", "an endpoint is another place than the primary, which is asked anyway"))]
#[x_kube(validation = (
    "!has(self.admin.certificateRef) || !has(self.tls) || self.tls.mode == 'VerifyFull'",
    "admin.certificateRef needs tls.mode VerifyFull"
))]
pub struct DatabaseSpec {
    /// DNS name or address of the primary, where ALTER ROLE runs.
    #[schemars(length(min = 1, max = 253))]
    pub host: String,

    /// Port of the primary.
    #[serde(default = "default_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,

    /// Database that the applications use; logins are proven in it.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,

    /// The administrator that may change the passwords of exactly these users.
    pub admin: AdminSpec,

    /// Transport security of every connection Tandem makes.
    #[serde(default)]
    pub tls: TlsSpec,

    /// Everywhere else that the applications log in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub endpoints: Vec<EndpointSpec>,

    /// Role that `current_user` must be after login, for pairs whose members `SET role` to a shared owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub effective_role: Option<String>,

    /// Statement that must succeed as the standby before it takes over, for example `SELECT 1 FROM orders LIMIT 0`:
    /// proof that it can do what the application does. It runs in a read-only transaction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub smoke_query: Option<String>,
}

/// Where the administrator's credential is; it is read again at each use. Exactly one of `secretRef` and `awsSecret`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.secretRef) != has(self.awsSecret)", "exactly one of secretRef and awsSecret"))]
pub struct AdminSpec {
    /// Secret in the policy's namespace with the administrator's user name and password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<AdminSecretRef>,
    /// Secret in AWS Secrets Manager with the administrator's user name and password, for example the master secret
    /// that RDS manages and rotates by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws_secret: Option<AwsSecretSpec>,
    /// Function `schema.name` in the database that changes a password in the administrator's stead, as `tandem sql
    /// install` prints it; the administrator then needs no right to change roles. Without it, ALTER ROLE.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 3, max = 127), regex(pattern = r"^[^.]{1,63}\.[^.]{1,63}$"))]
    pub function: Option<String>,
    /// Certificate that the administrator shows to the server, for lines of `pg_hba.conf` with the method `cert` or
    /// the option `clientcert`. The logins of the two users never show it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_ref: Option<CertificateRef>,
}

/// Names a Secret of type `kubernetes.io/tls` in the policy's namespace: the certificate chain under `tls.crt`, its
/// private key under `tls.key`, both in PEM form, as cert-manager writes them. Read again at each use.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CertificateRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Names the administrator's Secret and the keys in it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AdminSecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key that holds the user name.
    #[serde(default = "default_username_key")]
    pub username_key: String,
    /// Key that holds the password.
    #[serde(default = "default_password_key")]
    pub password_key: String,
}

/// Transport security. There is no silent fallback: what is asked for is what happens.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "self.mode == 'VerifyFull' || !(has(self.caRef) || has(self.serverName) || has(self.minVersion))",
    "tls.caRef, tls.serverName and tls.minVersion have no meaning with tls.mode Disable"
))]
pub struct TlsSpec {
    /// `VerifyFull` checks the certificate chain and the host name; `Disable` sends everything in the clear.
    #[serde(default)]
    pub mode: TlsMode,
    /// Certificate authority of the server, read again at each use; without it the system's roots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_ref: Option<CaRef>,
    /// Name that the server's certificate must be for, where it is not the one that leads to it: the host is an
    /// Service of type `ExternalName`, a CNAME or an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub server_name: Option<String>,
    /// Oldest version of TLS that is spoken; without it `TLSv1.2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_version: Option<TlsVersion>,
}

/// See [`TlsSpec::min_version`]; the values are those of PostgreSQL's `ssl_min_protocol_version`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246.
    #[serde(rename = "TLSv1.2")]
    V1_2,
    /// RFC 8446.
    #[serde(rename = "TLSv1.3")]
    V1_3,
}

/// See [`TlsSpec::mode`].
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    /// Chain and host name are verified.
    #[default]
    VerifyFull,
    /// No transport security.
    Disable,
}

/// Names the object and key that hold a certificate authority in PEM form.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CaRef {
    /// Kind of the object.
    pub kind: CaKind,
    /// Name of the object, in the policy's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in the object.
    #[serde(default = "default_ca_key")]
    pub key: String,
}

/// Kind of object that holds a certificate authority.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaKind {
    /// A `ConfigMap`.
    ConfigMap,
    /// A `Secret`.
    Secret,
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

/// How the credential reaches the application Secret. Exactly one of the two.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.secret) != has(self.externalSecret)", "exactly one of secret and externalSecret"))]
pub struct DeliverySpec {
    /// Direct delivery: Tandem owns the named keys of the Secret, and only these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<SecretDelivery>,
    /// Store-first delivery: Tandem writes the store, and External Secrets Operator brings the credential from there
    /// into the Secret, which Tandem only reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_secret: Option<ExternalSecretDelivery>,
}

/// The `ExternalSecret` that makes the application Secret, and the secret in the store that it reads.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(self.keys) || self.keys.username != self.keys.password", "keys.username and keys.password must differ"))]
pub struct ExternalSecretDelivery {
    /// Name of the `ExternalSecret`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Name of the Secret that it makes, where that is not its own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: Option<String>,
    /// Keys of that Secret under which applications read the user name and the password. A Secret that carries them
    /// only inside other values, rendered by a template, may lack both.
    #[serde(default)]
    pub keys: SecretKeys,
    /// The secret in AWS Secrets Manager: one JSON document with the user name and the password.
    pub aws_secrets_manager: AwsSecretSpec,
}

/// A secret in AWS Secrets Manager that is a JSON document.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(self.externalId) || has(self.roleArn)", "externalId has no meaning without roleArn"))]
pub struct AwsSecretSpec {
    /// Name or ARN of the secret.
    #[schemars(length(min = 1, max = 2048))]
    pub secret_id: String,
    /// Region that it is in.
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[a-z0-9-]+$"))]
    pub region: String,
    /// Property of the document that holds the user name.
    #[serde(default = "default_username_key")]
    #[schemars(length(min = 1, max = 253))]
    pub username_key: String,
    /// Property of the document that holds the password.
    #[serde(default = "default_password_key")]
    #[schemars(length(min = 1, max = 253))]
    pub password_key: String,
    /// Role to assume for it; without one the controller's own identity is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 20, max = 2048))]
    pub role_arn: Option<String>,
    /// External id that the role's trust policy asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 1224))]
    pub external_id: Option<String>,
}

/// The application Secret and the keys of it that Tandem writes.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("self.keys.username != self.keys.password", "keys.username and keys.password must differ"))]
#[x_kube(validation = ("!has(self.templates) || (!(self.keys.username in self.templates) && !(self.keys.password in self.templates))", "a template must not use the key of the user name or the password"))]
pub struct SecretDelivery {
    /// Name of the Secret. It exists already and names one of the two users: that is how Tandem knows who is active.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Keys of the user name and the password.
    #[serde(default)]
    pub keys: SecretKeys,
    /// Further keys, rendered from `{username}` and `{password}`; `:uri`, `:jdbc`, `:squote` and `:dquote` after the
    /// name escape for that place, `{{` and `}}` are braces.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub templates: BTreeMap<String, String>,
}

/// Names of the two keys every delivery writes.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeys {
    /// Key of the user name.
    #[serde(default = "default_username_key")]
    #[schemars(length(min = 1, max = 253))]
    pub username: String,
    /// Key of the password.
    #[serde(default = "default_password_key")]
    #[schemars(length(min = 1, max = 253))]
    pub password: String,
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

impl Default for PasswordSpec {
    fn default() -> Self {
        Self {
            length: default_length(),
            symbols: false,
        }
    }
}

impl Default for SecretKeys {
    fn default() -> Self {
        Self {
            username: default_username_key(),
            password: default_password_key(),
        }
    }
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

pub(super) fn default_port() -> u16 {
    5432
}
fn default_length() -> u8 {
    32
}
fn default_username_key() -> String {
    "username".into()
}
fn default_password_key() -> String {
    "password".into()
}
fn default_ca_key() -> String {
    "ca.crt".into()
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
fn default_history_limit() -> u32 {
    10
}
