//! A service to talk to over the wire with the real SDK, and one secret in it.

use anyhow::{Context as _, Result};
use aws_sdk_secretsmanager::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_secretsmanager::primitives::Blob;
use aws_sdk_secretsmanager::{Client, Config};
use tandem_lab::aws::AccessKey;

/// A client and the name of a secret that nobody else uses.
pub(crate) struct Place {
    pub(crate) client: Client,
    pub(crate) secret: String,
}

/// A client of the SDK as it is, but that it tries only once.
pub(crate) fn client(endpoint: &str, key: &AccessKey) -> Client {
    Client::from_conf(config(endpoint, key).build())
}

pub(crate) fn config(endpoint: &str, key: &AccessKey) -> aws_sdk_secretsmanager::config::Builder {
    Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .retry_config(aws_sdk_secretsmanager::config::retry::RetryConfig::disabled())
        .credentials_provider(Credentials::new(&key.id, &key.secret, None, None, "test"))
}

/// The id of the n-th version, which is its token.
pub(crate) fn version(number: usize) -> String {
    format!("{number:032}")
}

/// What came of a call: nothing to say, or the name of the error.
pub(crate) fn outcome<T, E: ProvideErrorMetadata>(result: Result<T, SdkError<E>>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(error) => failure(&error),
    }
}

pub(crate) fn failure<E: ProvideErrorMetadata>(error: &SdkError<E>) -> String {
    let name = error.code().map(str::to_owned);
    name.unwrap_or_else(|| format!("no answer ({error})"))
}

impl Place {
    /// Makes the secret, with a first version.
    pub(crate) async fn create(&self, value: &str) -> Result<()> {
        let call = self.client.create_secret().name(&self.secret);
        let call = call.client_request_token(version(1)).secret_string(value);
        call.send().await.context("cannot create the secret")?;
        Ok(())
    }

    /// Puts the n-th version, with labels or without saying anything about them.
    pub(crate) async fn put(&self, number: usize, value: &str, stages: &[&str]) -> String {
        let stages = Some(stages.iter().map(|&stage| stage.to_owned()).collect::<Vec<_>>());
        let call = self.client.put_secret_value().secret_id(&self.secret);
        let call = call.client_request_token(version(number)).secret_string(value);
        let call = call.set_version_stages(stages.filter(|stages| !stages.is_empty()));
        outcome(call.send().await)
    }

    pub(crate) async fn put_binary(&self, number: usize, value: &[u8]) -> String {
        let call = self.client.put_secret_value().secret_id(&self.secret);
        let call = call.client_request_token(version(number));
        outcome(call.secret_binary(Blob::new(value)).send().await)
    }

    /// Moves a label to a version and from one, by their numbers.
    pub(crate) async fn move_stage(&self, stage: &str, to: Option<usize>, from: Option<usize>) -> String {
        let call = self.client.update_secret_version_stage().secret_id(&self.secret);
        let call = call.version_stage(stage).set_move_to_version_id(to.map(version));
        outcome(call.set_remove_from_version_id(from.map(version)).send().await)
    }

    /// What is read, in whatever form it is, or the name of the error.
    pub(crate) async fn read(&self, number: Option<usize>, stage: Option<&str>) -> String {
        self.read_by(&self.secret, number, stage).await
    }

    pub(crate) async fn read_by(&self, id: &str, number: Option<usize>, stage: Option<&str>) -> String {
        let call = self.client.get_secret_value().secret_id(id);
        let call = call.set_version_id(number.map(version));
        match call.set_version_stage(stage.map(str::to_owned)).send().await {
            Err(error) => failure(&error),
            Ok(got) => match (got.secret_string(), got.secret_binary()) {
                (Some(text), None) => text.to_owned(),
                (None, Some(bytes)) => format!("binary {:?}", bytes.as_ref()),
                _ => "neither or both forms".to_owned(),
            },
        }
    }

    /// The labels of all versions that have one: `1:AWSPREVIOUS 2:AWSCURRENT`.
    pub(crate) async fn labels(&self) -> Result<String> {
        let call = self.client.describe_secret().secret_id(&self.secret);
        let described = call.send().await.context("cannot describe the secret")?;
        let stages = described.version_ids_to_stages.unwrap_or_default();
        let mut labels = Vec::new();
        for (id, mut stages) in stages {
            stages.sort();
            labels.push((number(&id)?, stages.join("+")));
        }
        labels.sort();
        Ok(joined(
            labels.iter().map(|(number, stages)| format!("{number}:{stages}")),
        ))
    }

    /// The numbers of the versions in the order in which they are listed.
    pub(crate) async fn listed(&self, deprecated: bool) -> Result<String> {
        let call = self.client.list_secret_version_ids().secret_id(&self.secret);
        let listed = call.include_deprecated(deprecated).send().await;
        let listed = listed.context("cannot list the versions")?;
        let numbers = listed.versions().iter();
        let numbers: Result<Vec<_>> = numbers
            .map(|entry| number(entry.version_id().unwrap_or_default()))
            .collect();
        Ok(joined(numbers?.iter().map(ToString::to_string)))
    }

    pub(crate) async fn delete(&self, force: bool) -> String {
        let call = self.client.delete_secret().secret_id(&self.secret);
        let call = if force {
            call.force_delete_without_recovery(true)
        } else {
            call.recovery_window_in_days(7)
        };
        outcome(call.send().await)
    }
}

fn number(id: &str) -> Result<usize> {
    id.parse()
        .with_context(|| format!("{id} is no version of this test"))
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(" ")
}
