//! The compatibility cases in which something is gone in the middle, and comes back.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams};
use serde_json::json;
use tandem_lab::{AWS_KEYS_SECRET, CREDENTIALS_SECRET, eventually};

use crate::place::{A_WHILE, EXTERNAL_SECRET, Place, STORE, STORED, Setup};
use crate::scene::{LIMIT, mortal};
use crate::still::requests;
use crate::traps::{both_valid, kubectl, told};

/// Much less than the operator's own back-off has grown to by then, or its hour.
const SOON: Duration = Duration::from_secs(40);

#[test]
fn case11_an_operator_that_is_down_is_waited_for_and_everybody_can_log_in() {
    tandem_lab::run(|lab| async move {
        let mut place = Place::new(&lab, "down", Setup::default()).await?;
        let app = place.app("app", 1).await?;
        let (before, revision) = (place.before().await?, place.revision("app").await?);
        place.eso.stop().await?;
        let nonce = place.ask().await?;
        let message = place.reason("WaitingForSync").await?;
        for part in [
            STORED,
            CREDENTIALS_SECRET,
            "External Secrets Operator is not running",
            "kubectl ",
        ] {
            ensure!(message.contains(part), "it does not say {part}: {message}");
        }
        tokio::time::sleep(2 * A_WHILE).await;
        place.stands_at("Flipped").await?;
        both_valid(&place, &before.login).await?;
        ensure!(
            place.revision("app").await? == revision,
            "the application was restarted before there was anything new"
        );
        place.eso.start().await?;
        brought(&place, SOON).await?;
        place.completed(&nonce).await?;
        place.rotated(&before, &[&app]).await?;
        ensure!(
            place.revision("app").await? == revision + 1,
            "the application was not restarted exactly once"
        );
        Ok(())
    });
}

#[test]
fn case11_with_a_store_that_is_not_ready_or_refuses_the_operator_is_asked_again_and_again() {
    tandem_lab::run(|lab| async move {
        let mut place = Place::new(&lab, "unready", Setup::default()).await?;
        let app = place.app("app", 1).await?;

        // Not ready before a rotation: none begins.
        let (before, revision) = (place.before().await?, place.revision("app").await?);
        let secrets: Api<Secret> = place.stage.namespace.api();
        secrets.delete(AWS_KEYS_SECRET, &DeleteParams::default()).await?;
        touch_store(&place)?;
        let nonce = place.ask().await?;
        let message = place.reason("StoreNotReady").await?;
        ensure!(
            message.contains(STORE) && message.contains("nothing has been changed"),
            "{message}"
        );
        place.unchanged(&before).await?;
        place.eso.keys(place.aws.key()).await?;
        touch_store(&place)?;
        place.completed(&nonce).await?;
        place.rotated(&before, &[&app]).await?;

        // Not ready after the flip.
        let before = place.before().await?;
        place.eso.stop().await?;
        let nonce = place.ask().await?;
        place.reason("WaitingForSync").await?;
        secrets.delete(AWS_KEYS_SECRET, &DeleteParams::default()).await?;
        touch_store(&place)?;
        place.eso.start().await?;
        told(&place, &["SecretStore", STORE, "is not ready"]).await?;
        // And then the operator may not read: it tries ever more rarely.
        let nobody = place
            .aws
            .grant(&json!({"Version": "2012-10-17", "Statement": []}))?;
        place.eso.keys(&nobody).await?;
        touch_store(&place)?;
        told(&place, &["cannot sync"]).await?;
        let before_that = requests(&place)?.len();
        eventually("the operator to be asked twice more", LIMIT, async || {
            Ok((requests(&place)?.len() >= before_that + 2).then_some(()))
        })
        .await?;
        place.stands_at("Flipped").await?;
        ensure!(
            place.logs_in(&before.login).await,
            "the old credential must stay valid"
        );
        place.eso.keys(place.aws.key()).await?;
        brought(&place, SOON).await?;
        place.completed(&nonce).await?;
        place.rotated(&before, &[&app]).await?;
        ensure!(
            place.revision("app").await? == revision + 2,
            "the application was not restarted once for each rotation"
        );
        Ok(())
    });
}

/// The operator looks at a store when it changes, and every five minutes.
fn touch_store(place: &Place) -> Result<()> {
    let touched = format!("touched={}", place.aws.all_calls().len());
    let store = format!("secretstore/{STORE}");
    kubectl(place, &["annotate", "--overwrite", &store, &touched])
}

/// Waits until the Secret carries what is current in the store.
async fn brought(place: &Place, limit: Duration) -> Result<()> {
    eventually("the new credential in the Secret", limit, async || {
        let same = place.credential().await? == place.stored()?;
        Ok(same.then_some(()))
    })
    .await
}

#[test]
fn case16_an_external_secret_that_is_deleted_and_made_again_in_the_middle_starts_no_other_rotation() {
    tandem_lab::run(|lab| async move {
        let setup = Setup {
            controller: mortal(),
            policy: json!({"spec": {"retire": {"after": "6s"}}}),
            ..Setup::default()
        };
        let place = Place::new(&lab, "pruned", setup).await?;
        let app = place.app("app", 1).await?;

        // stage, set_verifier, propose, flip: gone and back before the operator is asked for anything.
        let (before, revision) = (place.before().await?, place.revision("app").await?);
        place.fault("before", 5)?;
        let nonce = place.ask().await?;
        place.stands_still().await?;
        prune(&place).await?;
        place.change_external_secret(json!({})).await?;
        place.kill().await?;
        let status = place.completed(&nonce).await?;
        ensure!(
            status.last_rotation.map(|last| last.number) == Some(1),
            "a second rotation"
        );
        place.rotated(&before, &[&app]).await?;
        ensure!(
            place.revision("app").await? == revision + 1,
            "the application was not restarted exactly once"
        );

        // After the delivery, while the old credential is kept.
        let before = place.before().await?;
        let nonce = place.ask().await?;
        place.phase("RolledOut").await?;
        prune(&place).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        ensure!(
            place.logs_in(&before.login).await,
            "the old credential must stay valid"
        );
        place.change_external_secret(json!({})).await?;
        let status = place.completed(&nonce).await?;
        ensure!(
            status.last_rotation.map(|last| last.number) == Some(2),
            "a second rotation"
        );
        place.rotated(&before, &[&app]).await
    });
}

/// Deletes the `ExternalSecret`, and waits until its Secret is gone with it.
async fn prune(place: &Place) -> Result<()> {
    let object = format!("externalsecret/{EXTERNAL_SECRET}");
    kubectl(place, &["delete", "--wait", &object])?;
    let secrets: Api<Secret> = place.stage.namespace.api();
    eventually("the Secret to go", LIMIT, async || {
        Ok(secrets.get_opt(CREDENTIALS_SECRET).await?.is_none().then_some(()))
    })
    .await
}
