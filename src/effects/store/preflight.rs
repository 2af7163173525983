//! What would stand in the way of a rotation, asked without a write.

use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretOutput;
use tokio::time::Instant;

use super::PENDING;
use super::classify::{Failure, Kind};
use super::clients::CALL_LIMIT;
use super::document::Document;
use super::secrets_manager::SecretsManager;
use super::words::blocker;
use crate::machine::facts::Finding;
use crate::manifest::iam::Call;

/// The tag that External Secrets Operator demands of a secret before a `PushSecret` writes to it.
const PUSHED: (&str, &str) = ("managed-by", "external-secrets");
/// No version has this name.
const NOWHERE: &str = "00000000-0000-0000-0000-000000000000";

impl SecretsManager {
    /// What stands in the way of bringing another credential into this secret; `current` is its current version, where
    /// that could be read. Changes nothing.
    pub async fn findings(&self, current: Option<&Document>) -> Vec<Finding> {
        let mut findings = match self.describe(Instant::now() + CALL_LIMIT).await {
            Ok(secret) => self.of_description(&secret),
            Err(failure) if failure.kind == Kind::Denied => vec![self.finding(Call::Describe, &failure)],
            // What else there is to ask would be answered alike, and a store that hangs takes its time each time.
            Err(failure) => return vec![self.finding(Call::Describe, &failure)],
        };
        if let Some(document) = current {
            findings.extend(self.may_write(document).await);
            findings.extend(self.may_move().await);
        }
        findings
    }

    /// Asks for a version that is there already, with the same content: AWS checks the right to write, and then ignores
    /// the request.
    async fn may_write(&self, document: &Document) -> Option<Finding> {
        let until = Instant::now() + CALL_LIMIT;
        let asked = self.put(document.body(), document.version(), until).await;
        asked.err().map(|failure| self.finding(Call::Write, &failure))
    }

    /// Asks to take the label of proposed versions from one that cannot exist: AWS checks the right to do so, and then
    /// refuses.
    async fn may_move(&self) -> Option<Finding> {
        let until = Instant::now() + CALL_LIMIT;
        match self.relabel(PENDING, NOWHERE, None, until).await {
            Ok(())
            | Err(Failure {
                kind: Kind::Parameter | Kind::NotFound | Kind::WrongState,
                ..
            }) => None,
            Err(failure) => Some(self.finding(Call::Move, &failure)),
        }
    }

    fn of_description(&self, secret: &DescribeSecretOutput) -> Vec<Finding> {
        let named = self.named();
        let mut findings = Vec::new();
        if secret.deleted_date().is_some() {
            findings.push(blocker(
                "StoreSecretDeleted",
                format!(
                    "{named} is scheduled for deletion; bring it back: {}",
                    self.aws("restore-secret")
                ),
            ));
        }
        if let Some(service) = secret.owning_service() {
            findings.push(blocker(
                "StoreSecretOwned",
                format!("{named} belongs to the service {service}, which alone writes to it; name another secret in the policy"),
            ));
        } else if secret.rotation_enabled() == Some(true) {
            findings.push(blocker(
                "StoreRotationEnabled",
                format!(
                    "AWS rotates {named} by itself, and the two would undo each other's work; end that: {}",
                    self.aws("cancel-rotate-secret")
                ),
            ));
        }
        if let Some(primary) = secret
            .primary_region()
            .filter(|primary| *primary != self.secret.region)
        {
            findings.push(blocker(
                "StoreSecretIsReplica",
                format!(
                    "{named} is a replica, which cannot be written to; put the region of the primary into the policy: {primary}"
                ),
            ));
        }
        let pushed = |(key, value)| {
            let tags = secret.tags().iter();
            tags.filter(|tag| tag.key() == Some(key))
                .any(|tag| tag.value() == Some(value))
        };
        if pushed(PUSHED) {
            let (key, value) = PUSHED;
            findings.push(blocker(
                "StoreSecretPushed",
                format!(
                    "{named} has the tag {key}={value}: a PushSecret may write the old credential over the new one. Look for it: kubectl get pushsecrets -A; when there is none: {} --tag-keys {key}",
                    self.aws("untag-resource")
                ),
            ));
        }
        findings
    }
}
