//! Where applications log in besides the primary.

#![expect(
    unreachable_pub,
    reason = "the schema derive repeats each struct inside a function"
)]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::{AdminSecretRef, TlsSpec, default_port};

/// A place besides the primary where applications log in. A new password is proven at every address behind its name
/// before applications are told, and the old user's sessions are counted there before it is retired.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(self.userlist) || has(self.console)", "a pooler with a userlist needs its console, which makes it read the list"))]
#[x_kube(validation = ("self.role == 'Pooler' ? has(self.console) != has(self.soak) : !has(self.console) && !has(self.soak)", "a Pooler has exactly one of console and soak, and a Replica neither"))]
pub struct EndpointSpec {
    /// Name of the endpoint in status and messages.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
    )]
    pub name: String,
    /// What answers there.
    pub role: EndpointRole,
    /// DNS name or address. A name may lead to several servers; each of them is asked.
    #[schemars(length(min = 1, max = 253))]
    pub host: String,
    /// Port of the endpoint.
    #[serde(default = "default_port")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// Transport security, where it is not that of the primary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,
    /// The console of a pooler, which tells who its clients are: one that is idle has no session on any server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console: Option<ConsoleSpec>,
    /// The list of passwords of a pooler (its `auth_file`), which it reads when its console says so. Tandem puts new
    /// passwords of the pair there and leaves everything else as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub userlist: Option<UserlistSpec>,
    /// How long the old user must have no session on any server before it is retired, where a pooler has no console
    /// that tells of its idle clients: no shorter than these live, and than its `server_idle_timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        regex(pattern = r"^([0-9]{1,4}h)?([0-9]{1,4}m)?([0-9]{1,4}s)?$"),
        length(min = 2)
    )]
    pub soak: Option<String>,
}

/// The console of a pooler.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ConsoleSpec {
    /// Secret in the policy's namespace with the user name and password of one of its `stats_users` or `admin_users`.
    pub secret_ref: AdminSecretRef,
}

/// The list of passwords of a pooler.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct UserlistSpec {
    /// Secret in the policy's namespace that holds the list, and from which the pooler has its file.
    pub secret_ref: UserlistSecretRef,
}

/// Names the Secret of a list and the key in it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct UserlistSecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key that holds the list.
    #[serde(default = "default_userlist_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn default_userlist_key() -> String {
    "userlist.txt".to_owned()
}

/// See [`EndpointSpec::role`].
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointRole {
    /// Hot standbys of the primary. A changed password counts there when they have replayed it.
    Replica,
    /// `PgBouncer` in front of the primary, asking it for passwords with `auth_query` or having a list of them. The
    /// servers are proven directly; the pooler is asked besides, whether it lets applications through and whom it holds.
    Pooler,
}

impl EndpointRole {
    /// The name that people read and write.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replica => "Replica",
            Self::Pooler => "Pooler",
        }
    }
}
