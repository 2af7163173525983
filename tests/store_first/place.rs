//! What every test here begins with: a scene whose application Secret is made by an operator of its own, from a secret
//! in a store of its own.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tandem::manifest::iam::iam;
use tandem::policy::Policy;
use tandem_lab::aws::{self, AccessKey, Call as Asked, Trust, Version};
use tandem_lab::{
    Audit, Aws, CREDENTIALS_SECRET, Consumer, ControllerOptions, Eso, EsoOptions, Lab, Login,
    PostgresOptions, Stage, eventually,
};

use crate::scene::{FAULT, LIMIT, Scene, direct, merge};

/// Name of the secret in the store.
pub(crate) const STORED: &str = "production/database/credentials";
/// Name of the `SecretStore`.
pub(crate) const STORE: &str = "aws";
/// Name of the `ExternalSecret`, and of the Secret that it makes.
pub(crate) const EXTERNAL_SECRET: &str = CREDENTIALS_SECRET;
/// Long enough for what must not happen to be seen if it does.
pub(crate) const A_WHILE: Duration = Duration::from_secs(4);

/// What is to be different from the usual, each as a merge patch.
pub(crate) struct Setup {
    /// Of the policy.
    pub(crate) policy: Value,
    /// Of the `ExternalSecret`.
    pub(crate) external_secret: Value,
    /// Of the `SecretStore`.
    pub(crate) store: Value,
    /// How the controller runs.
    pub(crate) controller: ControllerOptions,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            policy: json!({}),
            external_secret: json!({}),
            store: json!({}),
            controller: ControllerOptions::default(),
        }
    }
}

impl Setup {
    /// With another `ExternalSecret`.
    pub(crate) fn external_secret(change: Value) -> Self {
        Self {
            external_secret: change,
            ..Self::default()
        }
    }
}

/// A scene with a store and an operator.
pub(crate) struct Place {
    pub(crate) scene: Scene,
    pub(crate) aws: Aws,
    pub(crate) eso: Eso,
    /// Tandem's own, with exactly the rights that the policy needs.
    pub(crate) key: AccessKey,
    /// What was asked of the API server since the place was made.
    pub(crate) audit: Audit,
}

impl Deref for Place {
    type Target = Scene;

    fn deref(&self) -> &Scene {
        &self.scene
    }
}

/// What there was before a rotation.
pub(crate) struct Before {
    pub(crate) login: Login,
    /// The document in the store.
    pub(crate) text: String,
    /// The current version in the store.
    pub(crate) version: String,
    versions: BTreeSet<String>,
}

impl Before {
    /// How many versions there were.
    pub(crate) fn len(&self) -> usize {
        self.versions.len()
    }

    /// What somebody else has written since does not count.
    pub(crate) fn seen(&mut self, place: &Place) {
        self.versions = place.versions();
    }
}

impl Place {
    /// A place that is ready: preflight has passed.
    pub(crate) async fn new(lab: &Lab, name: &str, setup: Setup) -> Result<Self> {
        let place = Self::unready(lab, name, setup).await?;
        place.ready().await?;
        Ok(place)
    }

    /// The same, not waited for. But the operator has made the Secret.
    pub(crate) async fn unready(lab: &Lab, name: &str, setup: Setup) -> Result<Self> {
        let namespace = lab.namespace(name).await?;
        let stage = namespace.stage(PostgresOptions::named("db")).await?;
        Self::on(stage, setup).await
    }

    /// The same on a stage of one's own.
    pub(crate) async fn on(stage: Stage, setup: Setup) -> Result<Self> {
        let (lab, namespace) = (stage.namespace.lab(), &stage.namespace);
        let audit = lab.audit().from_here()?;
        let aws = Aws::start(lab.address())?;
        aws.create(STORED, aws::Value::Text(document(&stage.pair.a)))?;
        let usual = store_first(&stage, &aws);
        let key = grant(&aws, &usual, &setup.policy)?;
        let eso = namespace.eso(EsoOptions::of(&aws)).await?;
        eso.keys(aws.key()).await?;
        make_secret(&stage, &eso, &setup).await?;
        let controller = setup
            .controller
            .env("AWS_ENDPOINT_URL", &aws.endpoint())
            .env("AWS_ACCESS_KEY_ID", &key.id)
            .env("AWS_SECRET_ACCESS_KEY", &key.secret);
        let scene = Scene::on(stage, usual, controller).await?;
        scene.apply(setup.policy).await?;
        Ok(Self {
            scene,
            aws,
            eso,
            key,
            audit,
        })
    }

    /// Changes the usual `ExternalSecret`.
    pub(crate) async fn change_external_secret(&self, change: Value) -> Result<()> {
        self.eso.apply(&[self.external_secret(&change)]).await
    }

    /// The manifest of the usual `ExternalSecret`, changed.
    pub(crate) fn external_secret(&self, change: &Value) -> Value {
        external_secret(&self.eso, change)
    }

    /// Changes the application Secret behind the operator's back.
    pub(crate) async fn patch_secret(&self, change: &Value) -> Result<()> {
        let secrets: Api<Secret> = self.stage.namespace.api();
        let params = PatchParams::default();
        secrets
            .patch(CREDENTIALS_SECRET, &params, &Patch::Merge(change))
            .await?;
        Ok(())
    }

    /// The credential that is current in the store.
    pub(crate) fn stored(&self) -> Result<Login> {
        let document: Value = serde_json::from_str(&self.text()?)?;
        let text = |key: &str| document[key].as_str().with_context(|| format!("no {key}"));
        Ok(Login::new(text("username")?, text("password")?))
    }

    /// How often the operator has read the current version.
    pub(crate) fn reads_by_operator(&self) -> usize {
        let calls = self.aws.calls(STORED).into_iter();
        let reads = calls.filter(|call| call.action == "GetSecretValue" && call.key == self.aws.key().id);
        reads.filter(|call| call.stages == ["AWSCURRENT"]).count()
    }

    /// A rotation runs, and its phase is exactly this one.
    pub(crate) async fn stands_at(&self, phase: &str) -> Result<()> {
        let rotation = self.status().await?.rotation.context("no rotation runs")?;
        ensure!(
            rotation.phase == phase,
            "phase is {}: {}",
            rotation.phase,
            rotation.message
        );
        Ok(())
    }

    /// Waits until the controller stands still where [`Scene::fault`] told it to.
    pub(crate) async fn stands_still(&self) -> Result<()> {
        let reached = self.controller.dir().join(FAULT).with_extension("reached");
        eventually("the controller to stand still", LIMIT, async || {
            Ok(reached.exists().then_some(()))
        })
        .await
    }

    /// What there is, to be compared with by [`Place::rotated`].
    pub(crate) async fn before(&self) -> Result<Before> {
        Ok(Before {
            login: self.credential().await?,
            text: self.text()?,
            version: self.labelled("AWSCURRENT")?.id,
            versions: self.versions(),
        })
    }

    /// One whole rotation has happened since, by one version, and harmed nobody and nothing.
    pub(crate) async fn rotated(&self, before: &Before, apps: &[&Consumer]) -> Result<()> {
        self.sound(&before.login, apps).await?;
        let now = self.credential().await?;
        // Byte for byte: nothing but the two values.
        let expected = before
            .text
            .replace(&before.login.user, &now.user)
            .replace(&before.login.password, &now.password);
        ensure!(
            self.text()? == expected,
            "the document in the store is another one than expected"
        );
        let made: Vec<_> = self.versions().difference(&before.versions).cloned().collect();
        let (current, previous) = (self.labelled("AWSCURRENT")?, self.labelled("AWSPREVIOUS")?);
        ensure!(
            made == [current.id.clone()],
            "versions {made:?} were made, and {} is current",
            current.id
        );
        ensure!(
            previous.id == before.version,
            "{} is the version before, not {}",
            previous.id,
            before.version
        );
        self.secret_never_written()
    }

    /// Nothing was changed since, nor is it for a while.
    pub(crate) async fn unchanged(&self, before: &Before) -> Result<()> {
        tokio::time::sleep(A_WHILE).await;
        ensure!(
            self.versions() == before.versions && self.labelled("AWSCURRENT")?.id == before.version,
            "the store was changed"
        );
        ensure!(
            self.logs_in(&before.login).await,
            "{} cannot log in any more",
            before.login.user
        );
        let rotation = self.status().await?.rotation;
        ensure!(rotation.is_none(), "a rotation has begun: {rotation:?}");
        self.secret_never_written()
    }

    /// Tandem has read the application Secret, and asked for no change of it.
    pub(crate) fn secret_never_written(&self) -> Result<()> {
        let account = self.controller.service_account();
        let mut asked = self
            .audit
            .clone()
            .service_account(self.controller.namespace(), account)
            .namespace(self.namespace())
            .read()?;
        asked.retain(|request| request.resource == "secrets");
        let written = |request: &&tandem_lab::Request| {
            let journal = request
                .name
                .as_deref()
                .is_some_and(|name| name.ends_with("-tandem"));
            request.is_write() && !journal
        };
        let written: Vec<_> = asked.iter().filter(written).collect();
        ensure!(written.is_empty(), "Tandem wrote: {written:?}");
        ensure!(
            asked
                .iter()
                .any(|request| request.name.as_deref() == Some(CREDENTIALS_SECRET)),
            "the audit log does not say that Tandem has read the Secret"
        );
        Ok(())
    }

    /// What Tandem has asked of the store.
    pub(crate) fn calls(&self) -> Vec<Asked> {
        let mut calls = self.aws.all_calls();
        calls.retain(|call| call.key == self.key.id);
        calls
    }

    /// The current document.
    pub(crate) fn text(&self) -> Result<String> {
        let current = self.labelled("AWSCURRENT")?;
        Ok(String::from_utf8(current.value.bytes().to_vec())?)
    }

    /// The version under a label.
    pub(crate) fn labelled(&self, label: &str) -> Result<Version> {
        self.aws
            .labelled(STORED, label)
            .with_context(|| format!("no version has the label {label}"))
    }

    /// The ids of all versions.
    pub(crate) fn versions(&self) -> BTreeSet<String> {
        let versions = self.aws.versions(STORED).into_iter();
        versions.map(|version| version.id).collect()
    }
}

/// A document with more in it than the credential, in a form that no serializer would give it.
pub(crate) fn document(login: &Login) -> String {
    let Login { user, password } = login;
    format!(
        r#"{{"engine": "postgres",	"username":"{user}", "port" : 5432.0,
  "password": "{password}","tags": [ ], "note": "caf\u00e9 \/ naïve", "z": {{"b": 1e0, "a": null}} }}"#
    )
}

/// The Secret of a stage belongs to the operator from now on.
async fn make_secret(stage: &Stage, eso: &Eso, setup: &Setup) -> Result<()> {
    let secrets: Api<Secret> = stage.namespace.api();
    if setup.external_secret["spec"]["target"]["creationPolicy"] != "Merge" {
        secrets
            .delete(CREDENTIALS_SECRET, &DeleteParams::default())
            .await?;
    }
    let mut store = eso.secret_store(STORE);
    merge(&mut store, &setup.store);
    eso.apply(&[store, external_secret(eso, &setup.external_secret)])
        .await?;
    eventually("the operator to make the Secret", LIMIT, async || {
        Ok(secrets.get_opt(CREDENTIALS_SECRET).await?.map(drop))
    })
    .await
}

/// The usual one, changed.
fn external_secret(eso: &Eso, change: &Value) -> Value {
    let mut external = eso.external_secret(EXTERNAL_SECRET, STORE, STORED, &["username", "password"]);
    merge(&mut external, change);
    external
}

/// The usual policy of a place.
fn store_first(stage: &Stage, aws: &Aws) -> Value {
    let mut policy = direct(stage);
    policy["spec"]["delivery"] = json!({"externalSecret": {
        "name": EXTERNAL_SECRET,
        "awsSecretsManager": {"secretId": STORED, "region": aws.region()},
    }});
    policy
}

/// A key that may do what `tandem iam` prints for a policy, and nothing else; and the role that it assumes, if it does.
/// For a policy that means nothing it is what the usual one needs.
fn grant(aws: &Aws, usual: &Value, change: &Value) -> Result<AccessKey> {
    let parse = |policy: &Value| anyhow::Ok(Policy::parse(&serde_json::from_value(policy.clone())?)?);
    let mut text = usual.clone();
    merge(&mut text, change);
    let policy = parse(&text).or_else(|_| {
        text = usual.clone();
        parse(&text)
    })?;
    let text = text.to_string();
    let document = |role: Option<&str>| anyhow::Ok(serde_json::from_str(&iam(&text, role)?)?);
    if let Some(stored) = policy.delivery.source()
        && let Some(role) = &stored.role_arn
    {
        let external_id = stored.external_id.clone();
        let name = role.rsplit('/').next().unwrap_or_default();
        let made = aws.role(name, Trust::Account { external_id }, &document(Some(role))?)?;
        ensure!(made == *role, "the policy names {role}, and there is {made}");
    }
    aws.grant(&document(None)?)
}
