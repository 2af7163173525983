//! The rights in AWS that policies need: each secret by its ARN, each call by its action. The hands name the calls they
//! make by [`Call`] too, in metrics and in what they say about a right that is missing.

use serde::Serialize;

use crate::policy::StoredSecret;

/// A call to AWS Secrets Manager: all that are ever made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// What the secret is, but not what it holds.
    Describe,
    /// What a version holds.
    Read,
    /// A new version.
    Write,
    /// Another version for a label.
    Move,
}

impl Call {
    /// To bring a new credential into a secret.
    pub const DELIVERY: [Self; 4] = [Self::Describe, Self::Read, Self::Write, Self::Move];
    /// To read the administrator's credential.
    pub const ADMINISTRATION: [Self; 1] = [Self::Read];

    /// The IAM action that allows it.
    #[must_use]
    pub fn action(self) -> &'static str {
        match self {
            Self::Describe => "secretsmanager:DescribeSecret",
            Self::Read => "secretsmanager:GetSecretValue",
            Self::Write => "secretsmanager:PutSecretValue",
            Self::Move => "secretsmanager:UpdateSecretVersionStage",
        }
    }

    /// Bounded label for metrics.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Describe => "describe",
            Self::Read => "read",
            Self::Write => "write",
            Self::Move => "move",
        }
    }
}

/// What is allowed, as IAM writes it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Statement {
    effect: &'static str,
    action: Vec<&'static str>,
    resource: String,
}

impl Statement {
    /// Allows calls on a secret.
    #[must_use]
    pub fn on(secret: &StoredSecret, calls: &[Call]) -> Self {
        Self {
            effect: "Allow",
            action: calls.iter().map(|call| call.action()).collect(),
            resource: arn(secret),
        }
    }

    /// Allows to assume a role.
    #[must_use]
    pub fn assume(role: &str) -> Self {
        Self {
            effect: "Allow",
            action: vec!["sts:AssumeRole"],
            resource: role.to_owned(),
        }
    }

    /// On one line.
    #[must_use]
    pub fn line(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The ARN of a secret, as a pattern where it is not known in full: AWS ends each with six characters of its own.
fn arn(secret: &StoredSecret) -> String {
    let id = &secret.id;
    if id.starts_with("arn:") {
        return if complete(id) {
            id.clone()
        } else {
            format!("{id}-??????")
        };
    }
    let partition = match secret.region.split('-').next() {
        Some("cn") => "aws-cn",
        Some("us") if secret.region.starts_with("us-gov-") => "aws-us-gov",
        Some(_) | None => "aws",
    };
    // A role is of the account of the secrets that it may use.
    let account = secret.role_arn.as_deref().and_then(|role| role.split(':').nth(4));
    let account = account.filter(|account| !account.is_empty()).unwrap_or("*");
    format!(
        "arn:{partition}:secretsmanager:{}:{account}:secret:{id}-??????",
        secret.region
    )
}

fn complete(arn: &str) -> bool {
    arn.rsplit_once('-')
        .is_some_and(|(_, end)| end.len() == 6 && end.bytes().all(|b| b.is_ascii_alphanumeric()))
}
