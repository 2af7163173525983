//! Where applications log in besides the primary.

#![expect(
    unreachable_pub,
    reason = "the schema derive repeats each struct inside a function"
)]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::spec::{TlsSpec, default_port};

/// A place besides the primary where applications log in. A new password is proven at every address behind its name
/// before applications are told, and the old user's sessions are counted there before it is retired.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
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
}

/// See [`EndpointSpec::role`].
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointRole {
    /// Hot standbys of the primary. A changed password counts there when they have replayed it.
    Replica,
}

impl EndpointRole {
    /// The name that people read and write.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replica => "Replica",
        }
    }
}
