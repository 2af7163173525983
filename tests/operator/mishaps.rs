//! What goes wrong on the way: it is told, nothing is lost, and it goes on when the cause is gone.

use std::time::Duration;

use anyhow::{Context as _, Result};
use kube::api::DeleteParams;
use serde_json::json;
use tandem::effects::Error;
use tandem::machine::facts::{OperatorSeen, SecretSeen};
use tandem_lab::aws::{Action, Fault, How};
use tandem_lab::{AWS_KEYS_SECRET, Lab, eventually, run};

use crate::scene::{ID, NAME, OLD, SOON, Scene, stored};

/// Waits until this is told.
async fn until_told(scene: &Scene, reason: &str) -> Result<String> {
    eventually(format_args!("{reason} to be told"), SOON, async || {
        let trouble = scene.trouble().await?;
        Ok(trouble
            .filter(|trouble| trouble.reason == reason)
            .map(|trouble| trouble.message))
    })
    .await
}

#[test]
fn case_11_seen_60_while_the_operator_is_away_nothing_changes_and_then_it_goes_on() {
    run(|lab: Lab| async move {
        let mut scene = Scene::new(&lab, json!({})).await?;
        scene.eso.stop().await?;
        scene.flip()?;
        scene.request(1).await?;
        let told = until_told(&scene, "SyncUnanswered").await?;
        assert!(told.contains("kubectl get pods -A"), "{told}");
        scene.stays_behind().await?;
        assert_eq!(scene.namespace.read_secret(NAME).await?["password"], OLD);
        scene.eso.start().await?;
        scene.until_carried().await?;
        assert_eq!(scene.trouble().await?, None);
        Ok(())
    });
}

#[test]
fn case_11_seen_51_52_a_new_request_does_not_wait_for_the_operators_back_off() {
    run(|lab: Lab| async move {
        let scene = Scene::new(&lab, json!({})).await?;
        scene
            .aws
            .fault(ID, Fault::always(Action::GetSecretValue, How::Deny));
        scene.flip()?;
        scene.request(1).await?;
        let told = until_told(&scene, "ExternalSecretNotReady").await?;
        assert!(
            told.contains("could not get secret data from provider") && told.contains("describe"),
            "{told}"
        );
        // Until its next attempt of its own is some ten seconds away.
        eventually("a few attempts", SOON, async || {
            let denied = scene
                .aws
                .calls(ID)
                .iter()
                .filter(|call| call.error.is_some())
                .count();
            Ok((denied >= 5).then_some(()))
        })
        .await?;
        scene.aws.mend();
        let asked = tokio::time::Instant::now();
        scene.request(2).await?;
        scene.until_carried().await?;
        assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
        Ok(())
    });
}

#[test]
fn seen_57_58_a_store_that_cannot_be_used_is_refused_and_told_and_comes_back() {
    run(|lab: Lab| async move {
        let scene = Scene::new(&lab, json!({})).await?;
        scene
            .namespace
            .api::<k8s_openapi::api::core::v1::Secret>()
            .delete(AWS_KEYS_SECRET, &DeleteParams::default())
            .await?;
        // The store says that it is ready for some minutes more; only the attempt fails.
        scene.flip()?;
        scene.request(1).await?;
        until_told(&scene, "ExternalSecretNotReady").await?;
        // Touched, it is looked at.
        lab.kubectl(&[
            "annotate",
            "secretstore",
            "aws",
            "touched=1",
            "--namespace",
            scene.namespace.name(),
        ])?;
        let told = until_told(&scene, "StoreNotReady").await?;
        assert!(
            told.contains("SecretStore") && told.contains("kubectl -n"),
            "{told}"
        );
        scene
            .until_found(&scene.policy, &[("StoreNotReady", true)])
            .await?;
        scene.eso.keys(scene.aws.key()).await?;
        // The operator does not sync by itself when a store recovers.
        let mut times = 1;
        eventually("the credential to come", SOON, async || {
            if scene.carried().await? {
                return Ok(Some(()));
            }
            times += 1;
            scene.request(times).await?;
            tokio::time::sleep(Duration::from_millis(500)).await;
            Ok(None)
        })
        .await
    });
}

#[test]
fn seen_59_where_no_operator_handles_the_store_that_is_refused() {
    run(|lab: Lab| async move {
        let scene = Scene::empty(&lab).await?;
        scene
            .external(NAME, json!({"secretStoreRef": {"name": "none"}}))
            .await?;
        let missing = [("StoreMissing", true), ("SecretMissing", true)];
        scene.until_found(&scene.policy, &missing).await?;
        let mut other = scene.eso.secret_store("none");
        other["spec"]["controller"] = json!("other");
        scene.eso.apply(&[other]).await?;
        let found = [("StoreNotReady", true), ("SecretMissing", true)];
        scene.until_found(&scene.policy, &found).await?;
        let said = scene.findings().await?;
        assert!(said[0].message.contains("class \"other\""), "{}", said[0].message);
        Ok(())
    });
}

#[test]
fn seen_54_behind_another_secret_that_hangs_it_is_told_and_comes_later() {
    run(|lab: Lab| async move {
        let scene = Scene::new(&lab, json!({})).await?;
        scene.aws.create("orders/slow", stored("x", "y"))?;
        scene.aws.fault(
            "orders/slow",
            Fault::once(Action::GetSecretValue, How::Hang(Duration::from_secs(6))),
        );
        let slow = scene
            .eso
            .external_secret("slow", "aws", "orders/slow", &["password"]);
        scene.eso.apply(&[slow]).await?;
        eventually("the call that hangs", SOON, async || {
            Ok((!scene.aws.calls("orders/slow").is_empty()).then_some(()))
        })
        .await?;
        scene.flip()?;
        scene.request(1).await?;
        until_told(&scene, "SyncUnanswered").await?;
        assert!(!scene.carried().await?);
        scene.until_carried().await
    });
}

#[test]
fn seen_46_49_what_the_store_does_not_give_leaves_the_secret_as_it_is() {
    run(|lab: Lab| async move {
        let scene = Scene::new(&lab, json!({})).await?;
        let without = tandem_lab::aws::Value::Text(json!({"username": "app_b"}).to_string());
        scene.aws.put(ID, without)?;
        scene.request(1).await?;
        until_told(&scene, "ExternalSecretNotReady").await?;
        assert_eq!(scene.namespace.read_secret(NAME).await?["password"], OLD);
        scene.flip()?;
        scene.request(2).await?;
        scene.until_carried().await
    });
}

#[test]
fn case_16_seen_37_38_an_external_secret_that_was_made_again_is_asked_anew() {
    run(|lab: Lab| async move {
        let scene = Scene::new(&lab, json!({"target": {"creationPolicy": "Orphan"}})).await?;
        let guard = scene.guard().await?;
        let objects = scene.objects("ExternalSecret");
        objects.delete(NAME, &DeleteParams::default()).await?;
        eventually("it to be gone", SOON, async || {
            Ok(objects.get_opt(NAME).await?.is_none().then_some(()))
        })
        .await?;
        scene.flip()?;
        let seen = scene.operator().await?;
        let OperatorSeen::Unusable(finding) = seen else {
            anyhow::bail!("{seen:?}");
        };
        assert_eq!(finding.reason, "ExternalSecretMissing");
        // The Secret is still there, with the operator's label, and nobody fills it any more.
        let (seen, _) = scene.seen().await?;
        assert!(
            matches!(
                seen,
                SecretSeen::Present {
                    carries_pending: false,
                    ..
                }
            ),
            "{seen:?}"
        );
        assert_eq!(scene.findings().await?[0].reason, "ExternalSecretMissing");
        scene.external(NAME, json!({})).await?;
        assert!(matches!(scene.ask(&guard, 1).await, Err(Error::Conflict { .. })));
        scene.request(1).await?;
        scene.until_carried().await
    });
}

#[test]
fn seen_60_an_external_secret_that_is_going_is_refused_while_its_finalizer_holds_it() {
    run(|lab: Lab| async move {
        let mut scene = Scene::new(&lab, json!({})).await?;
        scene.eso.stop().await?;
        scene
            .objects("ExternalSecret")
            .delete(NAME, &DeleteParams::default())
            .await?;
        let found = scene.findings().await?;
        assert_eq!(
            found.first().context("something")?.reason,
            "ExternalSecretDeleting",
            "{found:#?}"
        );
        assert_eq!(
            scene.trouble().await?.context("there is some")?.reason,
            "ExternalSecretDeleting"
        );
        Ok(())
    });
}
