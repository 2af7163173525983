//! The rights in AWS that policies need: each secret by its ARN, each call by its action. The hands name the calls they
//! make by [`Call`] too, in metrics and in what they say about a right that is missing.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::policy::{Admin, Policy, StoredSecret};

/// The IAM policy that one identity needs for the policies in a YAML stream, as JSON: the controller's own, or that of a
/// role that it assumes.
///
/// # Errors
/// When the text holds no policy, or one that means nothing, or this identity needs nothing.
pub fn iam(policies: &str, role: Option<&str>) -> anyhow::Result<String> {
    let policies = super::policies(policies)?;
    let needs: Vec<_> = policies.iter().flat_map(needs).collect();
    let statements = statements(&needs, role);
    anyhow::ensure!(
        !statements.is_empty(),
        "{} needs nothing of AWS for these policies; the roles that they assume: {}",
        role.unwrap_or("the controller itself"),
        list(needs.iter().filter_map(|(secret, _)| secret.role_arn.as_deref()))
    );
    let document = Document {
        version: "2012-10-17",
        statement: statements,
    };
    Ok(format!("{}\n", serde_json::to_string_pretty(&document)?))
}

/// The secrets that a policy speaks of, and what is called on them.
fn needs(policy: &Policy) -> Vec<(&StoredSecret, &'static [Call])> {
    let mut needs: Vec<(&StoredSecret, &'static [Call])> = Vec::new();
    if let Some(source) = policy.delivery.source() {
        needs.push((source, &Call::DELIVERY));
    }
    if let Admin::Stored(source) = &policy.database.admin {
        needs.push((source, &Call::ADMINISTRATION));
    }
    needs
}

/// One for each secret, and one for each role: the controller itself assumes the roles, and each of them uses its secrets.
fn statements(needs: &[(&StoredSecret, &'static [Call])], role: Option<&str>) -> Vec<Statement> {
    // One secret may serve as two things, and is then named once, with the calls of both.
    let mut secrets: BTreeMap<String, BTreeSet<Call>> = BTreeMap::new();
    let mut roles: BTreeSet<&str> = BTreeSet::new();
    for (secret, calls) in needs {
        if secret.role_arn.as_deref() == role {
            secrets.entry(arn(secret)).or_default().extend(*calls);
        } else if role.is_none() {
            roles.extend(secret.role_arn.as_deref());
        }
    }
    let uses = secrets
        .into_iter()
        .map(|(arn, calls)| Statement::allow(calls.iter().map(|call| call.action()), arn));
    uses.chain(roles.into_iter().map(Statement::assume)).collect()
}

fn list<'a>(roles: impl Iterator<Item = &'a str>) -> String {
    let roles: BTreeSet<&str> = roles.collect();
    if roles.is_empty() {
        return "none".into();
    }
    roles.into_iter().collect::<Vec<_>>().join(", ")
}

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

/// An IAM policy.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    version: &'static str,
    statement: Vec<Statement>,
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
        Self::allow(calls.iter().map(|call| call.action()), arn(secret))
    }

    /// Allows to assume a role.
    #[must_use]
    pub fn assume(role: &str) -> Self {
        Self::allow(["sts:AssumeRole"].into_iter(), role.to_owned())
    }

    fn allow(actions: impl Iterator<Item = &'static str>, resource: String) -> Self {
        Self {
            effect: "Allow",
            action: actions.collect(),
            resource,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(id: &str, region: &str, role: Option<&str>) -> StoredSecret {
        StoredSecret {
            id: id.into(),
            region: region.into(),
            username_key: "username".into(),
            password_key: "password".into(),
            role_arn: role.map(str::to_owned),
            external_id: None,
        }
    }

    #[test]
    fn the_resource_is_as_narrow_as_the_name_allows() {
        let cases = [
            (
                "prod/db",
                "us-east-1",
                None,
                "arn:aws:secretsmanager:us-east-1:*:secret:prod/db-??????",
            ),
            (
                "prod/db",
                "eu-central-1",
                Some("arn:aws:iam::123456789012:role/tandem"),
                "arn:aws:secretsmanager:eu-central-1:123456789012:secret:prod/db-??????",
            ),
            (
                "db",
                "cn-north-1",
                None,
                "arn:aws-cn:secretsmanager:cn-north-1:*:secret:db-??????",
            ),
            (
                "db",
                "us-gov-west-1",
                None,
                "arn:aws-us-gov:secretsmanager:us-gov-west-1:*:secret:db-??????",
            ),
            (
                "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-a1B2c3",
                "us-east-1",
                None,
                "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-a1B2c3",
            ),
            (
                "arn:aws:secretsmanager:us-east-1:123456789012:secret:orders/db",
                "us-east-1",
                None,
                "arn:aws:secretsmanager:us-east-1:123456789012:secret:orders/db-??????",
            ),
        ];
        for (id, region, role, expected) in cases {
            assert_eq!(arn(&secret(id, region, role)), expected);
        }
    }

    #[test]
    fn a_secret_that_serves_as_two_things_is_named_once_with_the_calls_of_both() {
        let one = secret("db", "us-east-1", None);
        let statements = statements(&[(&one, &Call::ADMINISTRATION), (&one, &Call::DELIVERY)], None);
        let lines: Vec<_> = statements.iter().map(Statement::line).collect();
        assert_eq!(lines, [Statement::on(&one, &Call::DELIVERY).line()]);
    }

    #[test]
    fn the_controller_assumes_the_roles_and_each_role_uses_its_secrets() {
        let role = "arn:aws:iam::123456789012:role/tandem";
        let (own, other) = (
            secret("own", "us-east-1", None),
            secret("other", "us-east-1", Some(role)),
        );
        let needs: [(&StoredSecret, &'static [Call]); 2] =
            [(&own, &Call::ADMINISTRATION), (&other, &Call::DELIVERY)];
        let lines = |role| -> Vec<_> { statements(&needs, role).iter().map(Statement::line).collect() };
        assert_eq!(
            lines(None),
            [
                Statement::on(&own, &Call::ADMINISTRATION).line(),
                Statement::assume(role).line()
            ]
        );
        assert_eq!(lines(Some(role)), [Statement::on(&other, &Call::DELIVERY).line()]);
    }
}
