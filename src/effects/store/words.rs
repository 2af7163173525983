//! Failures in words for the person on call: what happened, to which secret, and the next command to type.

use super::classify::{Failure, Kind};
use super::document::Flaw;
use super::secrets_manager::SecretsManager;
use crate::effects::Error;
use crate::effects::shell::word;
use crate::machine::facts::Finding;
use crate::manifest::iam::{Call, Statement};

pub(super) fn blocker(reason: &'static str, message: String) -> Finding {
    Finding {
        blocks: true,
        reason,
        message,
    }
}

impl SecretsManager {
    /// The secret, as messages name it.
    pub(super) fn named(&self) -> String {
        format!("secret {} in {}", self.secret.id, self.secret.region)
    }

    /// A command of the AWS CLI on this secret.
    pub(super) fn aws(&self, command: &str) -> String {
        format!(
            "aws secretsmanager {command} --secret-id {} --region {}",
            word(&self.secret.id),
            word(&self.secret.region)
        )
    }

    /// Shows what keys it has, and no value on anybody's screen.
    fn keys(&self) -> String {
        let read = self.aws("get-secret-value");
        format!("{read} --query SecretString --output text | jq keys")
    }

    /// Why its document cannot be used.
    pub(super) fn flawed(&self, flaw: &Flaw) -> Finding {
        let secret = self.named();
        let look = format!("look at its keys: {}", self.keys());
        let object = format!(
            "it must be a JSON object with the keys {:?} and {:?}",
            self.secret.username_key, self.secret.password_key
        );
        let (reason, message) = match flaw {
            Flaw::Empty => ("StoreSecretEmpty", format!("{secret} is empty; {object}; {look}")),
            Flaw::NotJson(0, 0) => (
                "StoreSecretNotJson",
                format!("{secret} is no text; {object}; {look}"),
            ),
            Flaw::NotJson(line, column) => (
                "StoreSecretNotJson",
                format!("{secret} is not JSON (line {line}, column {column}); {object}; {look}"),
            ),
            Flaw::NotAnObject => (
                "StoreSecretNotJson",
                format!("{secret} is JSON, but not an object; {object}; {look}"),
            ),
            Flaw::Missing(key) => (
                "StoreKeyMissing",
                format!("{secret} has no key {key:?}; correct the key in the policy, or add it; {look}"),
            ),
            Flaw::Twice(key) => (
                "StoreKeyTwice",
                format!("{secret} has the key {key:?} more than once; remove all but one; {look}"),
            ),
            Flaw::NotText(key) => (
                "StoreKeyNotText",
                format!("{secret} has something else than a text under the key {key:?}; {look}"),
            ),
        };
        blocker(reason, message)
    }

    /// An administrator without a name or a password.
    pub(super) fn nobody(&self) -> Finding {
        blocker(
            "AdminSecretUnusable",
            format!(
                "{} has an empty user name or password under the keys {:?} and {:?}; look at its keys: {}",
                self.named(),
                self.secret.username_key,
                self.secret.password_key,
                self.keys()
            ),
        )
    }

    /// A proposed version that is not what was proposed.
    pub(super) fn differs(&self, version: &str) -> Finding {
        blocker(
            "StoreVersionDiffers",
            format!(
                "version {version} of {} does not carry the pending credential, so it is not made current; see who wrote it: {}",
                self.named(),
                self.aws("list-secret-version-ids --include-deprecated")
            ),
        )
    }

    /// A move that was refused for a reason that cannot be seen.
    pub(super) fn unclear(&self, failure: &Failure) -> Error {
        Error::Store {
            reason: "StoreMoveUnclear",
            message: format!(
                "AWS refuses to make the proposed version of {} the current one {}, and yet the current one seems to be what it was: readers may see a move late; it is looked at again; see: {}",
                self.named(),
                said(Call::Move, failure),
                self.aws("list-secret-version-ids")
            ),
        }
    }

    /// What happened to a call, and the command that mends it.
    #[expect(
        clippy::too_many_lines,
        reason = "one arm for each class, side by side, is how it is read"
    )]
    pub(super) fn finding(&self, call: Call, failure: &Failure) -> Finding {
        let secret = self.named();
        let region = &self.secret.region;
        let said = said(call, failure);
        let see = format!("see: {}", self.aws("describe-secret"));
        let who = failure.principal.as_deref().unwrap_or("the controller");
        let (reason, message) = match failure.kind {
            Kind::NotFound => (
                "StoreSecretNotFound",
                format!(
                    "there is no {secret} {said}: its name, the region or the account is another one; list what there is: aws secretsmanager list-secrets --region {}",
                    word(region)
                ),
            ),
            Kind::Denied => (
                "StoreAccessDenied",
                format!(
                    "{who} may not call {} on {secret} {said}; unless a policy denies it ({}), add to its IAM policy: {}",
                    call.action(),
                    self.aws("get-resource-policy"),
                    Statement::on(&self.secret, &[call]).line()
                ),
            ),
            Kind::KeyDenied => (
                "StoreKeyDenied",
                format!(
                    "{who} may not use the KMS key of {secret} {said}; allow kms:Decrypt and kms:GenerateDataKey on it; find the key: {} --query KmsKeyId",
                    self.aws("describe-secret")
                ),
            ),
            Kind::KeyUnusable => (
                "StoreKeyUnusable",
                format!(
                    "the KMS key of {secret} cannot be used {said}: it may be disabled or about to be deleted; see: aws kms describe-key --region {} --key-id \"$({} --query KmsKeyId --output text)\"",
                    word(region),
                    self.aws("describe-secret")
                ),
            ),
            Kind::WrongState => (
                "StoreSecretUnusable",
                format!(
                    "{secret} is in a state that does not allow it {said}: it may be scheduled for deletion or belong to another service; {see}"
                ),
            ),
            Kind::Parameter => (
                "StoreCallRejected",
                format!("AWS does not take the call on {secret} {said}; {see}"),
            ),
            Kind::Exists => (
                "StoreVersionTaken",
                format!(
                    "{secret} has another password already under the version that this rotation proposes {said}: a journal may have been lost; nothing is overwritten, and another one is made. See the versions: {}",
                    self.aws("list-secret-version-ids --include-deprecated")
                ),
            ),
            Kind::Limit => (
                "StoreLimitReached",
                format!(
                    "{secret} has as many versions as AWS allows, or is too large {said}; AWS clears away versions without a label after a day; see them: {}",
                    self.aws("list-secret-version-ids --include-deprecated")
                ),
            ),
            Kind::BadCredentials => (
                "StoreCredentialsRejected",
                format!(
                    "AWS in {region} does not accept the controller's credentials for {secret} {said}: they are expired or deleted, or a clock is wrong; see who it is, in its environment: aws sts get-caller-identity --region {}",
                    word(region)
                ),
            ),
            Kind::NoCredentials => (
                "StoreCredentialsMissing",
                format!(
                    "the controller has no AWS credentials for {secret}; give its service account a role, and restart it: kubectl -n tandem-system annotate serviceaccount tandem eks.amazonaws.com/role-arn=ROLE"
                ),
            ),
            Kind::RoleDenied => ("StoreRoleDenied", self.role_denied(&secret, &said, failure)),
            Kind::CredentialsSilent => (
                "StoreCredentialsSilent",
                format!(
                    "whoever gives out AWS credentials for {secret} does not answer {said}; it is tried again. See: aws sts get-caller-identity --region {}",
                    word(region)
                ),
            ),
            Kind::Throttled => (
                "StoreThrottled",
                format!(
                    "AWS throttles the calls on {secret} {said}; it is tried again, ever more slowly; {see}"
                ),
            ),
            Kind::ServerFault => (
                "StoreFailed",
                format!("AWS failed on {secret} {said}; it is tried again; {see}"),
            ),
            Kind::NoAnswer => (
                "StoreNoAnswer",
                format!(
                    "AWS in {region} does not answer for {secret} {said}: a firewall, NetworkPolicy or missing VPC endpoint may drop the packets; it is tried again; {see}"
                ),
            ),
            Kind::Unreachable => (
                "StoreUnreachable",
                format!(
                    "there is no connection to AWS in {region} for {secret} {said}: the region may be another one, the name not resolve, or nobody listen; it is tried again; {see}"
                ),
            ),
            Kind::Untrusted => (
                "StoreUntrusted",
                format!(
                    "whoever answers as AWS in {region} for {secret} {said} shows no certificate that the controller trusts; nothing was sent. A proxy may be in between, or the container lack the authorities (SSL_CERT_FILE); see who answers: openssl s_client -connect secretsmanager.{region}.amazonaws.com:443"
                ),
            ),
            Kind::NotAws => (
                "StoreNotAws",
                format!(
                    "what answers for {secret} does not behave as Secrets Manager does {said}: a proxy may be in between; {see}"
                ),
            ),
            Kind::NotSent => (
                "StoreCallNotSent",
                format!(
                    "no call could be made for {secret} {said}: the region {region:?} or the endpoint in the controller's environment may be malformed; {see}"
                ),
            ),
            Kind::Other => (
                "StoreError",
                format!("AWS refuses the call on {secret} {said}; {see}"),
            ),
        };
        blocker(reason, message)
    }

    fn role_denied(&self, secret: &str, said: &str, failure: &Failure) -> String {
        let Some(role) = &self.secret.role_arn else {
            return format!(
                "AWS gives the controller no credentials for {secret} {said}: the role of its service account must trust that account; see both: kubectl -n tandem-system get serviceaccount tandem -o yaml, and aws iam get-role --role-name ROLE"
            );
        };
        let who = failure.principal.as_deref().unwrap_or("the controller");
        let id = match &self.secret.external_id {
            Some(_) => " with the external id of the policy",
            None => "",
        };
        let name = role.rsplit('/').next().unwrap_or(role);
        format!(
            "{who} may not assume role {role} for {secret} {said}; its trust policy must allow it{id} (aws iam get-role --role-name {}), and the controller's IAM policy: {}",
            word(name),
            Statement::assume(role).line()
        )
    }
}

/// Which call it was, and AWS's own words for what happened.
fn said(call: Call, failure: &Failure) -> String {
    let action = call.action().rsplit(':').next().unwrap_or_default();
    let mut words = vec![action.to_owned()];
    words.extend(failure.code.clone());
    words.extend(failure.request.as_ref().map(|id| format!("request {id}")));
    format!("({})", words.join(", "))
}
