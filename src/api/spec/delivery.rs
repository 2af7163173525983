//! How the credential reaches the application Secret.

#![expect(
    unreachable_pub,
    reason = "the schema derive repeats each struct inside a function"
)]

use std::collections::BTreeMap;

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

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

impl Default for SecretKeys {
    fn default() -> Self {
        Self {
            username: default_username_key(),
            password: default_password_key(),
        }
    }
}

pub(super) fn default_username_key() -> String {
    "username".into()
}

pub(super) fn default_password_key() -> String {
    "password".into()
}
