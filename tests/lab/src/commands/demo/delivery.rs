//! How the credential comes to the application: straight into its Secret, or through AWS Secrets Manager and the
//! External Secrets Operator.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tandem_lab::aws::{self, AccessKey};
use tandem_lab::{Aws, CREDENTIALS_SECRET, Eso, EsoOptions, Lab, Login, Stage, eventually};

/// The secret's name in the store.
const STORED: &str = "production/orders/db";
/// The first operator of a machine is built before.
const LIMIT: Duration = Duration::from_mins(2);
/// How often the operator looks into the store by itself, as long as nobody but a person rotates.
const SHORT: &str = "15s";
/// The same as it is when nobody says anything.
const DEFAULT: &str = "1h0m0s";

/// How the credential comes to the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Delivery {
    /// Whoever rotates writes the application Secret
    Secret,
    /// Whoever rotates writes AWS Secrets Manager, and the External Secrets Operator brings it into the Secret
    ExternalSecret,
}

/// What is between those who rotate and the application Secret.
pub(super) enum Route {
    /// Nothing.
    Direct,
    /// A store and an operator.
    Stored(Box<Store>),
}

/// A store with one secret, and an operator that makes the application Secret of it.
pub(super) struct Store {
    aws: Aws,
    eso: Eso,
    /// Tandem's own, which may do with the one secret what Tandem does.
    key: AccessKey,
}

impl Delivery {
    /// Sets up what it needs. The application Secret is there afterwards, with the first user's credential.
    pub(super) async fn set_up(self, lab: &Lab, stage: &Stage) -> Result<Route> {
        match self {
            Self::Secret => Ok(Route::Direct),
            Self::ExternalSecret => Ok(Route::Stored(Box::new(Store::new(lab, stage).await?))),
        }
    }
}

impl Route {
    /// `spec.delivery` of a policy.
    pub(super) fn delivery(&self) -> Value {
        match self {
            Self::Direct => json!({"secret": {"name": CREDENTIALS_SECRET}}),
            Self::Stored(store) => json!({"externalSecret": {
                "name": CREDENTIALS_SECRET,
                "awsSecretsManager": {"secretId": STORED, "region": store.aws.region()},
            }}),
        }
    }

    /// What the controller's environment says of it.
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        let Self::Stored(store) = self else {
            return Vec::new();
        };
        let variables = [
            ("AWS_ENDPOINT_URL", store.aws.endpoint()),
            ("AWS_ACCESS_KEY_ID", store.key.id.clone()),
            ("AWS_SECRET_ACCESS_KEY", store.key.secret.clone()),
        ];
        variables.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// Brings another password to the application Secret as people do it, and returns when it is there.
    pub(super) async fn by_hand(&self, stage: &Stage, login: &Login) -> Result<()> {
        match self {
            Self::Direct => {
                let secrets: Api<Secret> = stage.namespace.api();
                let change = Patch::Merge(json!({"stringData": {"password": login.password}}));
                let params = PatchParams::default();
                secrets.patch(CREDENTIALS_SECRET, &params, &change).await?;
                Ok(())
            }
            Self::Stored(store) => {
                store.aws.put(STORED, document(login))?;
                carried(stage, login).await
            }
        }
    }

    /// Nobody rotates by hand any more: the operator is left with its default.
    pub(super) async fn settle(&self) -> Result<()> {
        match self {
            Self::Direct => Ok(()),
            Self::Stored(store) => store.refresh(DEFAULT).await,
        }
    }

    /// How many calls Tandem has made to the store; none without one.
    pub(super) fn calls(&self) -> Option<usize> {
        let Self::Stored(store) = self else {
            return None;
        };
        let calls = store.aws.calls(STORED);
        Some(calls.iter().filter(|call| call.key == store.key.id).count())
    }
}

impl Store {
    async fn new(lab: &Lab, stage: &Stage) -> Result<Self> {
        let aws = Aws::start(lab.address())?;
        let arn = aws.create(STORED, document(&stage.pair.a))?;
        let actions = [
            "DescribeSecret",
            "GetSecretValue",
            "PutSecretValue",
            "UpdateSecretVersionStage",
        ];
        let key = aws.grant(&json!({"Version": "2012-10-17", "Statement": {
            "Effect": "Allow",
            "Action": actions.map(|action| format!("secretsmanager:{action}")),
            "Resource": arn,
        }}))?;
        let eso = stage.namespace.eso(EsoOptions::of(&aws)).await?;
        eso.keys(aws.key()).await?;
        // The operator is to make the Secret itself.
        let secrets: Api<Secret> = stage.namespace.api();
        let params = DeleteParams::default();
        secrets.delete(CREDENTIALS_SECRET, &params).await?;
        eso.apply(&[eso.secret_store("aws")]).await?;
        let store = Self { aws, eso, key };
        store.refresh(SHORT).await?;
        carried(stage, &stage.pair.a).await?;
        Ok(store)
    }

    /// Says how often the operator is to look into the store by itself.
    async fn refresh(&self, interval: &str) -> Result<()> {
        let properties = ["username", "password"];
        let mut external = self
            .eso
            .external_secret(CREDENTIALS_SECRET, "aws", STORED, &properties);
        let spec = external.get_mut("spec").context("an object without a spec")?;
        if let Some(spec) = spec.as_object_mut() {
            spec.insert("refreshInterval".to_owned(), interval.into());
        }
        self.eso.apply(&[external]).await
    }
}

/// Waits until the application Secret carries a credential.
async fn carried(stage: &Stage, login: &Login) -> Result<()> {
    let what = format!("Secret {CREDENTIALS_SECRET} to have been synced");
    eventually(what, LIMIT, async || {
        let secret = stage.namespace.read_secret(CREDENTIALS_SECRET).await?;
        ensure!(
            secret.get("password") == Some(&login.password),
            "it carries another password"
        );
        Ok(Some(()))
    })
    .await
}

fn document(login: &Login) -> aws::Value {
    aws::Value::Text(json!({"username": login.user, "password": login.password}).to_string())
}
