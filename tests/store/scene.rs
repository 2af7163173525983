//! What every test here begins with: a secret with the credential of the active user, and somebody who may change it.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_secretsmanager::config::{Credentials, SharedCredentialsProvider};
use tandem::effects::store::{Document, SecretsManager, Store as _, Stores, version_id};
use tandem::effects::{Error, Outcome};
use tandem::machine::facts::{Finding, Refused};
use tandem::policy::StoredSecret;
use tandem::policy::target::RoleName;
use tandem::sensitive::Sensitive;
use tandem::telemetry::metrics::Metrics;
use tandem_lab::aws::{AccessKey, Aws, Value};

/// Of the secret.
pub(crate) const NAME: &str = "production/orders/database";
/// Of the policy.
pub(crate) const UID: &str = "0b5c1d7e-4f7a-4f0e-9a55-3a1f0c2d9b88";
/// What no write needs.
pub(crate) const AMPLE: Duration = Duration::from_secs(30);
/// The active user's password, and the pending one.
pub(crate) const OLD: &str = "old-Sentinel-1f0c";
pub(crate) const NEW: &str = "new-Sentinel-9b88";
/// What is current at first: spaces, order, escapes and numbers that a parser would not give back.
pub(crate) const BEFORE: &str = "{ \"host\" : \"db.example\",\n  \"port\":5.4320e3, \"password\": \"old-Sentinel-1f0c\",\t\"username\":\"app_a\",\"n\\u006fte\":\"\\u00e9\\/\" }\n";
/// What it must be after the rotation.
pub(crate) const AFTER: &str = "{ \"host\" : \"db.example\",\n  \"port\":5.4320e3, \"password\": \"new-Sentinel-9b88\",\t\"username\":\"app_b\",\"n\\u006fte\":\"\\u00e9\\/\" }\n";

/// A secret in an AWS of its own.
pub(crate) struct Scene {
    pub(crate) aws: Aws,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) stores: Stores,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::with(Value::Text(BEFORE.into())).await
    }

    pub(crate) async fn with(value: Value) -> Self {
        let aws = Aws::start(Ipv4Addr::LOCALHOST.into()).unwrap();
        aws.create(NAME, value).unwrap();
        let metrics = Arc::new(Metrics::default());
        let stores = Stores::new(&config(&aws.endpoint(), aws.key()).await, metrics.clone());
        Self { aws, metrics, stores }
    }

    /// The secret, with every right.
    pub(crate) fn open(&self) -> SecretsManager {
        self.stores.open(&stored())
    }

    /// The secret, by somebody else.
    pub(crate) async fn open_as(&self, key: &AccessKey) -> SecretsManager {
        self.stores_of(key).await.open(&stored())
    }

    /// As somebody else sees AWS.
    pub(crate) async fn stores_of(&self, key: &AccessKey) -> Stores {
        let config = config(&self.aws.endpoint(), key).await;
        Stores::new(&config, self.metrics.clone())
    }

    /// What is current, past every wire.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.aws.current(NAME).unwrap().bytes().to_vec()).unwrap()
    }

    /// The ids of all versions.
    pub(crate) fn versions(&self) -> Vec<String> {
        self.aws
            .versions(NAME)
            .into_iter()
            .map(|version| version.id)
            .collect()
    }

    /// The id of the version under a label.
    pub(crate) fn labelled(&self, label: &str) -> Option<String> {
        self.aws.labelled(NAME, label).map(|version| version.id)
    }

    /// How often an action was asked for.
    pub(crate) fn calls(&self, action: &str) -> usize {
        self.aws
            .calls(NAME)
            .iter()
            .filter(|call| call.action == action)
            .count()
    }
}

pub(crate) async fn config(endpoint: &str, key: &AccessKey) -> SdkConfig {
    let credentials = Credentials::new(&key.id, &key.secret, None, None, "test");
    aws_config::defaults(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .load()
        .await
}

pub(crate) fn stored() -> StoredSecret {
    StoredSecret {
        id: NAME.into(),
        region: "us-east-1".into(),
        username_key: "username".into(),
        password_key: "password".into(),
        role_arn: None,
        external_id: None,
    }
}

pub(crate) fn standby() -> RoleName {
    RoleName::new("app_b").unwrap()
}

pub(crate) fn pending() -> Sensitive {
    Sensitive::new(NEW.into())
}

/// The current version; it must be usable.
pub(crate) async fn current(secret: &SecretsManager) -> Document {
    match secret.current().await {
        Ok(Ok(document)) => document,
        Ok(Err(finding)) => panic!("{finding:?}"),
        Err(error) => panic!("{error}"),
    }
}

/// The version that the first rotation proposes.
pub(crate) fn proposed(base: &Document) -> String {
    version_id(UID, 1, 0, base.version())
}

pub(crate) async fn propose(secret: &SecretsManager, base: &Document) -> Result<Outcome, Error> {
    secret
        .propose(base, &standby(), &pending(), &proposed(base), AMPLE)
        .await
}

pub(crate) async fn promote(secret: &SecretsManager, base: &Document) -> Result<Outcome, Error> {
    secret
        .promote(base.version(), &standby(), &pending(), &proposed(base), AMPLE)
        .await
}

/// The finding of a write that was refused.
pub(crate) fn refusal(outcome: Result<Outcome, Error>) -> Finding {
    match outcome {
        Ok(Outcome::Refused(Refused::Otherwise(finding))) => finding,
        Ok(outcome) => panic!("{outcome:?}"),
        Err(error) => panic!("{error}"),
    }
}

/// The reason and text of an error of the store.
pub(crate) fn trouble<T>(result: Result<T, Error>) -> (&'static str, String) {
    match result {
        Err(Error::Store { reason, message }) => (reason, message),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it succeeded"),
    }
}
