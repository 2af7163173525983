//! Failure modes that are others with a store, or only there.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tandem_lab::aws::{self, Action, Fault, How};
use tandem_lab::{CREDENTIALS_SECRET, eventually};

use crate::place::{EXTERNAL_SECRET, Place, STORED, Setup};
use crate::scene::{LIMIT, unharmed};

/// Long enough for a controller that did something wrong to have done it.
const A_WHILE: Duration = Duration::from_secs(4);
/// Who may log in, when nobody is kept out.
const OPEN: &str = "hostssl all all all scram-sha-256";

/// Starts a rotation and keeps it right before the store is written: the server does not let the standby in.
async fn held(place: &Place) -> Result<String> {
    let active = place.credential().await?.user;
    let pair = &place.stage.pair;
    let standby = if active == pair.a.user { &pair.b } else { &pair.a };
    let closed = format!("hostssl all {} all reject\n{OPEN}", standby.user);
    place.stage.postgres.set_hba(&closed).await?;
    let nonce = place.ask().await?;
    place.phase("Altered").await?;
    Ok(nonce)
}

async fn let_go(place: &Place) -> Result<()> {
    place.stage.postgres.set_hba(OPEN).await
}

#[test]
fn fm23_another_credential_in_the_store_is_named_and_never_fought() {
    tandem_lab::run(|lab| async move {
        let place = Place::new(&lab, "stranger", Setup::default()).await?;
        let app = place.app("app", 1).await?;
        let (mut before, nonce) = (place.before().await?, held(&place).await?);
        // Another rotator, with the same pair: the standby, and a password of its own.
        let foreign = place.text()?;
        let foreign = foreign
            .replace(&before.login.user, "app_b")
            .replace(&before.login.password, "somebody-elses-0815");
        let theirs = place.aws.put(STORED, aws::Value::Text(foreign))?;
        let_go(&place).await?;
        let message = place.reason("StoreChanged").await?;
        ensure!(message.contains(STORED) && message.contains("app_b"), "{message}");
        tokio::time::sleep(A_WHILE).await;
        ensure!(
            place.labelled("AWSCURRENT")?.id == theirs,
            "it has been fought over"
        );
        ensure!(
            place.logs_in(&before.login).await && place.credential().await? == before.login,
            "what the applications use must stay as it is"
        );
        // The person who did it takes it back, as the message says.
        place
            .aws
            .move_stage(STORED, "AWSCURRENT", Some(&before.version))?;
        before.seen(&place);
        place.completed(&nonce).await?;
        place.rotated(&before, &[&app]).await
    });
}

#[test]
fn fm23_a_store_that_goes_back_after_the_delivery_is_brought_forward_again_before_anybody_is_retired() {
    tandem_lab::run(|lab| async move {
        let setup = Setup {
            policy: json!({"spec": {"retire": {"after": "5s"}}}),
            ..Setup::default()
        };
        let place = Place::new(&lab, "back", setup).await?;
        let app = place.app("app", 1).await?;
        let before = place.before().await?;
        let nonce = place.ask().await?;
        place.phase("RolledOut").await?;
        place
            .aws
            .move_stage(STORED, "AWSCURRENT", Some(&before.version))?;
        place.completed(&nonce).await?;
        place.sound(&before.login, &[&app]).await?;
        let now = place.credential().await?;
        ensure!(
            place.text()?.contains(&now.user) && place.text()?.contains(&now.password),
            "the store says something else than the Secret"
        );
        place.secret_never_written()
    });
}

#[test]
fn fm23_a_password_that_somebody_else_set_is_told_outside_a_rotation_and_left_alone() {
    tandem_lab::run(|lab| async move {
        let place = Place::new(&lab, "second", Setup::default()).await?;
        let before = place.before().await?;
        let alter = |password: &str| format!("ALTER ROLE {} PASSWORD '{password}'", before.login.user);
        let postgres = &place.stage.postgres;
        postgres.sql("postgres", &alter("set-by-somebody-else-1")).await?;
        let nonce = place.ask().await?;
        let (reason, message) = place.condition("CredentialsInSync", "False").await?;
        ensure!(reason == "ActiveLoginFailed", "{reason}: {message}");
        ensure!(message.contains(&before.login.user), "{message}");
        tokio::time::sleep(A_WHILE).await;
        // Theirs is still what counts, and the store is as it was.
        let theirs = tandem_lab::Login::new(&before.login.user, "set-by-somebody-else-1");
        ensure!(place.logs_in(&theirs).await, "their password was replaced");
        ensure!(
            place.labelled("AWSCURRENT")?.id == before.version,
            "the store was changed"
        );
        postgres.sql("postgres", &alter(&before.login.password)).await?;
        place.completed(&nonce).await?;
        place.rotated(&before, &[]).await
    });
}

#[test]
fn fm30_what_others_write_into_the_store_and_on_the_external_secret_meanwhile_stays() {
    tandem_lab::run(|lab| async move {
        let place = Place::new(&lab, "foreign", Setup::default()).await?;
        let app = place.app("app", 1).await?;
        let nonce = held(&place).await?;
        // A foreign key, after Tandem has read the document and before it writes.
        let text = place.text()?.replace("5432.0", "6432");
        place.aws.put(STORED, aws::Value::Text(text))?;
        let before = place.before().await?;
        let label = |value: u32| {
            let labels = format!("touched={value}");
            let object = format!("externalsecret/{EXTERNAL_SECRET}");
            place
                .lab
                .kubectl(&["-n", place.namespace(), "label", "--overwrite", &object, &labels])
        };
        let_go(&place).await?;
        // Whoever asks for a sync meets a conflict sooner or later.
        for value in 1..=8 {
            label(value)?;
        }
        place.completed(&nonce).await?;
        place.rotated(&before, &[&app]).await?;
        ensure!(place.text()?.contains("6432"), "a foreign key was lost");
        let labels = place.lab.kubectl(&[
            "-n",
            place.namespace(),
            "get",
            "externalsecret",
            EXTERNAL_SECRET,
            "-o",
            "jsonpath={.metadata.labels}",
        ])?;
        ensure!(
            labels.contains(r#""touched":"8""#),
            "a foreign label was lost: {labels}"
        );
        Ok(())
    });
}

#[test]
fn fm31_a_secret_that_the_operator_cannot_write_is_refused_before_anything_is_changed() {
    tandem_lab::run(|lab| async move {
        let place = Place::new(&lab, "frozen", Setup::default()).await?;
        let before = place.before().await?;
        let secrets: Api<Secret> = place.stage.namespace.api();
        let freeze = Patch::Merge(json!({"immutable": true}));
        secrets
            .patch(CREDENTIALS_SECRET, &PatchParams::default(), &freeze)
            .await?;
        let nonce = place.ask().await?;
        let message = place.condition("Preflight", "False").await?.1;
        let delete = format!(
            "kubectl -n {} delete secret {CREDENTIALS_SECRET}",
            place.namespace()
        );
        ensure!(
            message.contains("immutable") && message.contains(&delete),
            "{message}"
        );
        tokio::time::sleep(A_WHILE).await;
        place.unchanged(&before).await?;
        ensure!(
            place.status().await?.last_handled_rotate_now.as_deref() != Some(&nonce),
            "a rotation was begun"
        );
        // As it says; the operator makes it anew at once.
        secrets
            .delete(CREDENTIALS_SECRET, &DeleteParams::default())
            .await?;
        place.completed(&nonce).await?;
        place.rotated(&before, &[]).await
    });
}

#[test]
fn fm31_a_secret_that_is_missing_and_that_nobody_makes_is_refused_before_anything_is_changed() {
    tandem_lab::run(|lab| async move {
        let merge = json!({"spec": {"target": {"creationPolicy": "Merge"}}});
        let place = Place::new(&lab, "gone", Setup::external_secret(merge)).await?;
        let before = place.before().await?;
        let secrets: Api<Secret> = place.stage.namespace.api();
        secrets
            .delete(CREDENTIALS_SECRET, &DeleteParams::default())
            .await?;
        place.ask().await?;
        let message = place.condition("Preflight", "False").await?.1;
        ensure!(message.contains("creationPolicy Merge"), "{message}");
        tokio::time::sleep(A_WHILE).await;
        ensure!(
            place.labelled("AWSCURRENT")?.id == before.version && place.logs_in(&before.login).await,
            "something was changed"
        );
        ensure!(
            secrets.get_opt(CREDENTIALS_SECRET).await?.is_none(),
            "somebody has made it"
        );
        Ok(())
    });
}

#[test]
fn fm32_an_operator_that_may_not_read_the_store_is_waited_for_without_a_restart() {
    tandem_lab::run(|lab| async move {
        let setup = Setup::external_secret(json!({"spec": {"refreshInterval": "24h0m0s"}}));
        let place = Place::new(&lab, "denied", setup).await?;
        let app = place.app("app", 2).await?;
        let (before, revision) = (place.before().await?, place.revision("app").await?);
        let operator = format!(
            "arn:aws:iam::123456789012:user/{}",
            place.aws.key().id.to_lowercase()
        );
        place.aws.set_policy(STORED, &about(&operator, "Deny"))?;
        let nonce = place.ask().await?;
        place.phase("Flipped").await?;
        // Longer than it takes to be asked once more.
        tokio::time::sleep(Duration::from_secs(12)).await;
        let rotation = place.status().await?.rotation.context("the rotation must wait")?;
        ensure!(
            rotation.phase == "Flipped" && rotation.message.contains("ExternalSecret"),
            "{}: {}",
            rotation.phase,
            rotation.message
        );
        let asked = place.lab.kubectl(&[
            "-n",
            place.namespace(),
            "get",
            "externalsecret",
            EXTERNAL_SECRET,
            "-o",
            r"jsonpath={.metadata.annotations.external-secrets\.io/force-sync}",
        ])?;
        // `<policy uid>.<rotation>.<times>.<second>`
        let times: Option<u32> = asked.rsplit('.').nth(1).and_then(|times| times.parse().ok());
        ensure!(times > Some(1), "the operator was not asked again: {asked}");
        ensure!(
            place.revision("app").await? == revision,
            "the application was restarted with the old credential"
        );
        ensure!(
            place.credential().await? == before.login && place.logs_in(&before.login).await,
            "the old credential must stay valid as long as the Secret carries it"
        );
        unharmed(&app.tally()?)?;

        place.aws.set_policy(STORED, &about(&operator, "Allow"))?;
        place.completed(&nonce).await?;
        place.rotated(&before, &[&app]).await?;
        ensure!(
            place.revision("app").await? == revision + 1,
            "the application was not restarted exactly once"
        );
        Ok(())
    });
}

/// What a secret's own policy says of one who reads.
fn about(who: &str, effect: &str) -> Value {
    json!({"Version": "2012-10-17", "Statement": {
        "Effect": effect,
        "Principal": {"AWS": who},
        "Action": "secretsmanager:GetSecretValue",
        "Resource": "*",
    }})
}

#[test]
fn fm33_a_store_that_throttles_fails_and_loses_its_answers_gets_one_version() {
    tandem_lab::run(|lab| async move {
        let place = Place::new(&lab, "lossy", Setup::default()).await?;
        let app = place.app("app", 1).await?;
        let (before, nonce) = (place.before().await?, held(&place).await?);
        // The version is written, and each time the answer is lost.
        let lost = Fault::always(Action::PutSecretValue, How::ServerErrorAfter);
        place.aws.fault(STORED, lost);
        let_go(&place).await?;
        let message = place.reason("StoreFailed").await?;
        ensure!(
            message.contains(STORED) && message.contains("PutSecretValue"),
            "{message}"
        );
        tokio::time::sleep(A_WHILE).await;
        one_more(&place, before.len())?;
        // Now each move is throttled.
        place.aws.mend();
        let throttled = Fault::always(Action::UpdateSecretVersionStage, How::Throttle);
        place.aws.fault(STORED, throttled);
        let message = place.reason("StoreThrottled").await?;
        ensure!(message.contains("ThrottlingException"), "{message}");
        one_more(&place, before.len())?;
        ensure!(
            place.labelled("AWSCURRENT")?.id == before.version,
            "it has been moved"
        );
        // And then the move is made, its answer lost, and readers see it late.
        place.aws.mend();
        let unknown = Fault::once(Action::UpdateSecretVersionStage, How::ServerErrorAfter);
        place.aws.fault(STORED, unknown);
        place.completed(&nonce).await?;
        place.rotated(&before, &[&app]).await
    });
}

/// However often it was asked for, there is one version more than before.
fn one_more(place: &Place, before: usize) -> Result<()> {
    let versions = place.versions();
    ensure!(
        versions.len() == before + 1,
        "{} versions, of {before} before: {versions:?}",
        versions.len()
    );
    Ok(())
}

#[test]
fn fm33_a_secret_that_aws_rotates_by_itself_is_refused_before_anything_is_changed() {
    tandem_lab::run(|lab| async move {
        let place = Place::new(&lab, "rotated", Setup::default()).await?;
        let before = place.before().await?;
        place.aws.set_rotation(STORED, true)?;
        let nonce = place.ask().await?;
        let (reason, message) = place.condition("Preflight", "False").await?;
        ensure!(
            reason == "StoreRotationEnabled"
                && message.contains("aws secretsmanager cancel-rotate-secret")
                && message.contains(STORED),
            "{reason}: {message}"
        );
        tokio::time::sleep(A_WHILE).await;
        place.unchanged(&before).await?;
        place.aws.set_rotation(STORED, false)?;
        eventually("the rotation to be made after all", LIMIT, async || {
            Ok((place.credential().await?.user != before.login.user).then_some(()))
        })
        .await?;
        place.completed(&nonce).await?;
        place.rotated(&before, &[]).await
    });
}
