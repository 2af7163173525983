//! AWS Secrets Manager. The current version is the one under the staging label `AWSCURRENT`; a proposed one has a label
//! of Tandem's own.

use std::future::Future;
use std::time::Duration;

use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretOutput;
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueOutput;
use aws_sdk_secretsmanager::primitives::Blob;
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use super::Store;
use super::classify::{Failure, Kind};
use super::clients::{CALL_LIMIT, Stores};
use super::document::{Body, Document, Keys};
use crate::effects::kubernetes::references::Administrator;
use crate::effects::{Error, Outcome};
use crate::machine::facts::{Finding, Refused};
use crate::manifest::iam::Call;
use crate::policy::StoredSecret;
use crate::policy::target::RoleName;
use crate::sensitive::Sensitive;

/// Label of the version that was proposed last. It moves along from rotation to rotation, so that the versions before
/// keep none and AWS clears them away.
pub const PENDING: &str = "tandem-pending";
/// Label of the version that readers get.
const CURRENT: &str = "AWSCURRENT";

/// A secret in AWS Secrets Manager.
#[derive(Clone, Debug)]
pub struct SecretsManager {
    stores: Stores,
    pub(super) secret: StoredSecret,
}

/// A version as it was read.
struct Version {
    document: Document,
    current: bool,
}

impl Store for SecretsManager {
    async fn current(&self) -> Result<Result<Document, Finding>, Error> {
        let until = Instant::now() + CALL_LIMIT;
        match self.read(None, until).await {
            Ok(version) => Ok(version.map(|version| version.document)),
            Err(failure) => self.failed(Call::Read, &failure).map(Err),
        }
    }

    async fn propose(
        &self,
        base: &Document,
        user: &RoleName,
        password: &Sensitive,
        version: &str,
        left: Duration,
    ) -> Result<Outcome, Error> {
        let until = Instant::now() + left;
        let body = base.with(user.as_str(), password);
        match self.put(&body, version, until).await {
            Ok(()) => Ok(Outcome::Done),
            // A version never changes; another password is another version.
            Err(failure) if failure.kind == Kind::Exists => Ok(Outcome::Refused(Refused::Password(
                self.finding(Call::Write, &failure),
            ))),
            Err(failure) => self.failed(Call::Write, &failure).map(refused),
        }
    }

    async fn promote(
        &self,
        base: &str,
        user: &RoleName,
        password: &Sensitive,
        version: &str,
        left: Duration,
    ) -> Result<Outcome, Error> {
        let until = Instant::now() + left;
        match self.read(Some(version), until).await {
            Ok(Ok(seen)) if !seen.document.carries(user.as_str(), password) => {
                return Ok(refused(self.differs(version)));
            }
            Ok(Ok(seen)) if seen.current => return Ok(Outcome::Done),
            Ok(Ok(_)) => {}
            Ok(Err(finding)) => return Ok(refused(finding)),
            // It may have been cleared away, or not be seen yet: it is proposed again.
            Err(failure) if failure.kind == Kind::NotFound => return Err(self.conflict()),
            Err(failure) => return self.failed(Call::Read, &failure).map(refused),
        }
        match self.relabel(CURRENT, base, Some(version), until).await {
            Ok(()) => Ok(Outcome::Done),
            // Its guard did not hold: somebody else has made a move, or an attempt before this one.
            Err(failure) if [Kind::Parameter, Kind::NotFound].contains(&failure.kind) => {
                match self.read(None, until).await {
                    Ok(Ok(now)) if now.document.version() == version => Ok(Outcome::Done),
                    Ok(Ok(now)) if now.document.version() == base => Err(self.unclear(&failure)),
                    Ok(_) => Err(self.conflict()),
                    Err(failure) => self.failed(Call::Read, &failure).map(refused),
                }
            }
            Err(failure) => self.failed(Call::Move, &failure).map(refused),
        }
    }
}

impl SecretsManager {
    pub(super) fn new(stores: Stores, secret: StoredSecret) -> Self {
        Self { stores, secret }
    }

    /// The administrator's credential, read afresh: RDS rotates its own.
    ///
    /// # Errors
    /// When the store could not be asked.
    pub async fn administrator(&self) -> Result<Result<Administrator, Finding>, Error> {
        Ok(self.current().await?.and_then(|document| {
            if document.user().is_empty() || document.password().expose().is_empty() {
                return Err(self.nobody());
            }
            Ok(Administrator {
                user: document.user().to_owned(),
                password: document.password().clone(),
            })
        }))
    }

    pub(super) async fn describe(&self, until: Instant) -> Result<DescribeSecretOutput, Failure> {
        let request = self.stores.client(&self.secret).await.describe_secret();
        let request = request.secret_id(&self.secret.id);
        self.ask(Call::Describe, until, Box::pin(request.send())).await
    }

    /// Reads a version, or the current one.
    async fn read(&self, version: Option<&str>, until: Instant) -> Result<Result<Version, Finding>, Failure> {
        let request = self.stores.client(&self.secret).await.get_secret_value();
        let request = request
            .secret_id(&self.secret.id)
            .set_version_id(version.map(str::to_owned));
        let answer = self.ask(Call::Read, until, Box::pin(request.send())).await?;
        let current = answer.version_stages().iter().any(|label| label == CURRENT);
        let Some((version, body)) = content(answer) else {
            return Err(Kind::NotAws.into());
        };
        let keys = Keys {
            username: &self.secret.username_key,
            password: &self.secret.password_key,
        };
        Ok(Document::parse(version, body, keys)
            .map(|document| Version { document, current })
            .map_err(|flaw| self.flawed(&flaw)))
    }

    /// Writes a version under the label of proposed ones. The same again changes nothing.
    pub(super) async fn put(&self, body: &Body, version: &str, until: Instant) -> Result<(), Failure> {
        let request = self.stores.client(&self.secret).await.put_secret_value();
        let request = request
            .secret_id(&self.secret.id)
            .client_request_token(version)
            .version_stages(PENDING);
        let request = match body {
            Body::Text(text) => request.secret_string(text.expose()),
            Body::Binary(bytes) => request.secret_binary(Blob::new(bytes.as_slice())),
        };
        self.ask(Call::Write, until, Box::pin(request.send()))
            .await
            .map(|_| ())
    }

    /// Takes a label from one version, and gives it to another. AWS refuses when the first does not have it.
    pub(super) async fn relabel(
        &self,
        label: &str,
        from: &str,
        to: Option<&str>,
        until: Instant,
    ) -> Result<(), Failure> {
        let request = self
            .stores
            .client(&self.secret)
            .await
            .update_secret_version_stage();
        let request = request
            .secret_id(&self.secret.id)
            .version_stage(label)
            .remove_from_version_id(from)
            .set_move_to_version_id(to.map(str::to_owned));
        self.ask(Call::Move, until, Box::pin(request.send()))
            .await
            .map(|_| ())
    }

    /// One call, within its time, counted. The SDK's futures are large: boxed, they do not make everybody's who awaits
    /// one.
    async fn ask<T, E: ProvideErrorMetadata>(
        &self,
        call: Call,
        until: Instant,
        request: impl Future<Output = Result<T, SdkError<E>>>,
    ) -> Result<T, Failure> {
        let until = until.min(Instant::now() + CALL_LIMIT);
        let answer = match timeout_at(until, request).await {
            Ok(answer) => answer.map_err(|error| Failure::of(&error)),
            Err(_) => Err(Kind::NoAnswer.into()),
        };
        let outcome = match &answer {
            Ok(_) => "done",
            Err(failure) => failure.kind.label(),
        };
        self.stores.metrics().store_call(call.label(), outcome);
        answer
    }

    /// What may pass, or may have been done, is an error; all else a finding.
    fn failed(&self, call: Call, failure: &Failure) -> Result<Finding, Error> {
        let finding = self.finding(call, failure);
        if failure.kind.passes() {
            return Err(Error::Store {
                reason: finding.reason,
                message: finding.message,
            });
        }
        Ok(finding)
    }

    fn conflict(&self) -> Error {
        Error::Conflict { what: self.named() }
    }
}

fn refused(finding: Finding) -> Outcome {
    Outcome::Refused(Refused::Otherwise(finding))
}

/// The identity of a version and what it holds.
fn content(answer: GetSecretValueOutput) -> Option<(String, Body)> {
    let body = match (answer.secret_string, answer.secret_binary) {
        (Some(text), _) => Body::Text(Sensitive::new(text)),
        (None, Some(bytes)) => Body::Binary(Zeroizing::new(bytes.into_inner())),
        (None, None) => Body::Text(Sensitive::new(String::new())),
    };
    Some((answer.version_id?, body))
}
