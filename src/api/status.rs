//! What people and tools read. Projected from journal and facts; nothing that decides reads it back.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A time as Kubernetes shows it. With a part of a second a status would never be equal to the one that is shown already.
#[must_use]
pub fn to_the_second(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

/// Observed state of a policy.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RotationPolicyStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// User that the application Secret names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_user: Option<String>,
    /// The running rotation; absent while idle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationStatus>,
    /// The rotation that ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_rotation: Option<FinishedRotation>,
    /// When the schedule starts the next rotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_rotation_at: Option<Time>,
    /// When the credential in use was delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_changed_at: Option<Time>,
    /// Value of the rotate-now annotation that was answered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_rotate_now: Option<String>,
    /// Value of the abort annotation that was answered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_abort: Option<String>,
    /// Value of the reapply annotation that was answered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reapply: Option<String>,
    /// Value of the accept annotation that was answered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_accept: Option<String>,
    /// Workloads and pods that use the credential, while a rotation waits for them: a hundred at most, those with old
    /// pods first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub consumers: Vec<ConsumerStatus>,
    /// How many there are besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more_consumers: Option<u32>,
    /// Places besides the primary where applications log in, while a rotation is concerned with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointStatus>,
    /// Sessions of the old user that the drain waits for, by whose they are: a hundred at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub laggards: Vec<LaggardStatus>,
    /// How many there are besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more_laggards: Option<u32>,
    /// Finished rotations, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<FinishedRotation>,
    /// Ready, Reconciling, Stalled, Preflight, `CredentialsInSync`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
}

/// The rotation that is under way.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RotationStatus {
    /// Counted from 1 for each policy.
    pub number: u64,
    /// What started it.
    pub trigger: String,
    /// How much it may disturb, where that is more than `Graceful`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The fact that holds now; see docs/states.md.
    pub phase: String,
    /// Why the rotation before is taken back, when that is what this one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoing: Option<String>,
    /// When it started.
    pub started_at: Time,
    /// What it waits for, and which object to look at.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// A rotation that has ended.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct FinishedRotation {
    /// Counted from 1 for each policy.
    pub number: u64,
    /// What started it.
    pub trigger: String,
    /// How it ended: `Completed` or `RolledBack`.
    pub result: String,
    /// Why it was rolled back, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// User that is active since.
    pub user: String,
    /// When it started.
    pub started_at: Time,
    /// When it ended.
    pub finished_at: Time,
    /// Seconds from start to the end of the rollout, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout_seconds: Option<i64>,
}

/// A workload, Pod or Job whose pods use the credential.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerStatus {
    /// Kind of the object.
    pub kind: String,
    /// Name of the object.
    pub name: String,
    /// Who restarts it; nobody does when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarted_by: Option<String>,
    /// Pods, terminating ones included, that may still hold the old credential.
    pub old_pods: u32,
    /// Pods with the new credential that are ready.
    pub ready: u32,
}

/// A place besides the primary where applications log in.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EndpointStatus {
    /// Name of the endpoint.
    pub name: String,
    /// When the new password was first seen to work at all its addresses, in this rotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Time>,
    /// Sessions that the old user has there, where they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_sessions: Option<u32>,
}

/// Sessions of the old user, grouped.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LaggardStatus {
    /// What the client calls itself.
    pub application_name: String,
    /// Address it comes from; empty when the administrator may not see it or the connection is local.
    pub client_address: String,
    /// Pod and workload behind the address, where there is one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pod: String,
    /// Endpoint that they are at; the primary when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Number of sessions.
    pub count: u32,
}
