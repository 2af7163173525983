//! The server, how it is reached, and by whom.

#![expect(
    unreachable_pub,
    reason = "the schema derive repeats each struct inside a function"
)]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::delivery::{AwsSecretSpec, default_password_key, default_username_key};
use crate::api::endpoint::EndpointSpec;

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

pub(in crate::api) fn default_port() -> u16 {
    5432
}

fn default_ca_key() -> String {
    "ca.crt".into()
}
