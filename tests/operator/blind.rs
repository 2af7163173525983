//! Success that is none, and none that is success: only the Secret's data counts.

use std::time::Duration;

use anyhow::{Context as _, Result};
use kube::api::DeleteParams;
use serde_json::json;
use tandem::machine::facts::OperatorSeen;
use tandem_lab::aws::{Action, Fault, How};
use tandem_lab::{Lab, eventually, run};

use crate::scene::{ID, NAME, NEW, OLD, SOON, Scene};

/// Waits until the operator says that it has done what it was asked, and is content.
async fn until_content(scene: &Scene) -> Result<()> {
    eventually("the operator to be content", SOON, async || {
        let OperatorSeen::Present {
            asked: Some(_),
            trouble,
            ..
        } = scene.operator().await?
        else {
            anyhow::bail!("it was not asked");
        };
        Ok(trouble.is_none().then_some(()))
    })
    .await
}

#[test]
fn seen_12_a_success_that_came_before_the_move_is_not_believed() {
    run(|lab: Lab| async move {
        let scene = Scene::new(&lab, json!({})).await?;
        scene.request(1).await?;
        until_content(&scene).await?;
        scene.flip()?;
        assert_eq!(scene.eso.synced(NAME).await?.reason, "SecretSynced");
        scene.stays_behind().await?;
        scene.request(2).await?;
        scene.until_carried().await
    });
}

#[test]
fn seen_14_new_data_are_believed_while_the_status_is_still_the_old_one() {
    run(|lab: Lab| async move {
        let scene = Scene::new(&lab, json!({})).await?;
        let before = scene.eso.synced(NAME).await?;
        scene.flip()?;
        // Both reads are slow, and the second request comes during the first read.
        scene.aws.fault(
            ID,
            Fault::once(Action::GetSecretValue, How::Hang(Duration::from_secs(2))).times(2),
        );
        scene.request(1).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        scene.request(2).await?;
        scene.until_carried().await?;
        assert_eq!(scene.eso.synced(NAME).await?, before);
        Ok(())
    });
}

#[test]
fn case_2_and_4_seen_18_what_never_refreshes_is_refused_and_would_be_noticed() {
    run(|lab: Lab| async move {
        for (change, reason) in [
            (json!({"refreshInterval": "0s"}), "ExternalSecretIntervalZero"),
            (
                json!({"refreshPolicy": "CreatedOnce"}),
                "ExternalSecretCreatedOnce",
            ),
        ] {
            let scene = Scene::new(&lab, change).await?;
            scene.until_found(&scene.policy, &[(reason, true)]).await?;
            scene.flip()?;
            scene.request(1).await?;
            scene.stays_behind().await?;
            assert_eq!(scene.eso.synced(NAME).await?.reason, "SecretSynced");
            let trouble = scene.trouble().await?.context("there is some")?;
            assert_eq!(trouble.reason, reason);
            // The command of the finding lets it sync.
            let (_, command) = trouble.message.split_once("kubectl ").context("a command")?;
            let arguments: Vec<String> = command.split(' ').map(|word| word.replace('\'', "")).collect();
            lab.kubectl(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
            scene.request(2).await?;
            scene.until_carried().await?;
            assert_eq!(scene.findings().await?, []);
        }
        Ok(())
    });
}

#[test]
fn case_7_seen_39_an_immutable_target_is_refused_and_its_success_is_not_believed() {
    run(|lab: Lab| async move {
        let scene = Scene::new(&lab, json!({"target": {"immutable": true}})).await?;
        let found = [("ExternalSecretTargetImmutable", true), ("SecretImmutable", true)];
        scene.until_found(&scene.policy, &found).await?;
        scene.flip()?;
        scene.request(1).await?;
        until_content(&scene).await?;
        assert_eq!(scene.eso.synced(NAME).await?.reason, "SecretSynced");
        scene.stays_behind().await
    });
}

#[test]
fn seen_27_without_its_label_a_secret_is_not_watched_and_the_request_puts_it_back() {
    run(|lab: Lab| async move {
        let scene = Scene::new(&lab, json!({})).await?;
        scene
            .meddle(json!({"metadata": {"labels": {"reconcile.external-secrets.io/managed": null}}}))
            .await?;
        scene
            .until_found(&scene.policy, &[("SecretUnmarked", false)])
            .await?;
        scene
            .meddle(json!({"stringData": {"password": "somebody's"}}))
            .await?;
        scene.flip()?;
        scene.stays_behind().await?;
        assert_eq!(scene.namespace.read_secret(NAME).await?["password"], "somebody's");
        scene.request(1).await?;
        scene.until_carried().await?;
        scene.until_found(&scene.policy, &[]).await
    });
}

#[test]
fn seen_32_a_secret_that_is_merged_into_and_gone_is_told_although_the_operator_is_content() {
    run(|lab: Lab| async move {
        let scene = Scene::empty(&lab).await?;
        scene.namespace.secret(NAME, &[("API_KEY", "own")]).await?;
        scene
            .external(NAME, json!({"target": {"creationPolicy": "Merge"}}))
            .await?;
        scene.until(NAME, |data| data.contains_key("password")).await?;
        scene.settled(NAME).await?;
        scene.flip()?;
        scene.secrets().delete(NAME, &DeleteParams::default()).await?;
        scene
            .until_found(
                &scene.policy,
                &[("ExternalSecretNotReady", true), ("SecretMissing", true)],
            )
            .await?;
        scene.request(1).await?;
        scene.stays_behind().await?;
        assert_eq!(scene.eso.synced(NAME).await?.ready, Some(true));
        assert_eq!(
            scene.trouble().await?.context("there is some")?.reason,
            "ExternalSecretNotReady"
        );
        // Made again by its owner, it is noticed with the next request.
        scene.namespace.secret(NAME, &[("API_KEY", "own")]).await?;
        scene.request(2).await?;
        scene.until_carried().await
    });
}

#[test]
fn seen_36_a_second_external_secret_on_the_same_secret_is_refused_and_a_value_left_behind_is_noticed() {
    run(|lab: Lab| async move {
        let scene = Scene::empty(&lab).await?;
        scene.namespace.secret(NAME, &[("API_KEY", "own")]).await?;
        let merge = json!({"target": {"name": NAME, "creationPolicy": "Merge"}});
        scene.external(NAME, merge.clone()).await?;
        scene.until(NAME, |data| data.contains_key("password")).await?;
        let url = json!({"target": {"template": {"engineVersion": "v2", "data": {"URL": "postgres://{{ .username }}:{{ .password }}@db"}}}});
        scene.external("second", crate::scene::over(merge, url)).await?;
        scene.until(NAME, |data| data.contains_key("URL")).await?;
        scene.settled("second").await?;
        scene
            .until_found(&scene.policy, &[("SecretSharedTarget", true)])
            .await?;
        scene.flip()?;
        scene.request(1).await?;
        scene.until(NAME, |data| data["password"] == NEW).await?;
        assert!(scene.namespace.read_secret(NAME).await?["URL"].contains(OLD));
        scene.stays_behind().await?;
        scene.eso.annotate("second", "1").await?;
        scene.until_carried().await
    });
}

#[test]
fn seen_35_a_secret_of_another_external_secret_is_refused() {
    run(|lab: Lab| async move {
        let scene = Scene::new(&lab, json!({})).await?;
        let target = json!({"target": {"name": NAME}});
        scene.external("second", target).await?;
        scene.settled("second").await?;
        let second = scene.policy(json!({"name": "second", "secretName": NAME}))?;
        let found = scene.by_admin().findings_of(&second).await?;
        let reasons: Vec<_> = found.iter().map(|finding| finding.reason).collect();
        assert_eq!(
            reasons,
            [
                "ExternalSecretNotReady",
                "SecretSharedTarget",
                "SecretOwnedByController"
            ],
            "{found:#?}"
        );
        assert!(
            found[0].message.contains("owned by another ExternalSecret"),
            "{}",
            found[0].message
        );
        Ok(())
    });
}
