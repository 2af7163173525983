//! Traps around objects that go away and come back, or that their owner makes. The numbers are those of
//! external-secrets-observed, and the points those of its section D.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};
use tandem_lab::aws::{Action, Fault, How};
use tandem_lab::{CREDENTIALS_SECRET, Consumer, EsoOptions, Login, eventually};

use crate::place::{EXTERNAL_SECRET, Place, STORE, STORED, Setup};
use crate::scene::LIMIT;
use crate::still::requests;
use crate::traps::{both_valid, kubectl, told};

#[test]
fn trap32_38_72_point_7_what_is_gone_is_told_is_not_made_and_is_filled_when_it_is_back() {
    tandem_lab::run(|lab| async move {
        let place = Place::new(&lab, "gone", Setup::default()).await?;
        let app = place.app("app", 2).await?;
        trap38_72(&place, &app).await.context("traps 38 and 72")?;
        trap32(&place, &app).await.context("trap 32")
    });
}

/// The `ExternalSecret` is made anew in the middle of a rotation, and the Secret with it.
async fn trap38_72(place: &Place, app: &Consumer) -> Result<()> {
    let (before, uid) = (place.before().await?, uid(place).await?);
    let deny = Fault::always(Action::GetSecretValue, How::Deny);
    place.aws.fault_of(&place.aws.key().id, STORED, deny);
    let nonce = place.ask().await?;
    told(place, &["cannot sync"]).await?;
    kubectl(place, &["delete", "externalsecret", EXTERNAL_SECRET])?;
    told(place, &["ExternalSecret", "does not exist", "kubectl -n"]).await?;
    // Tandem looks again and again, and what it asks makes no empty one.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let there = place
        .lab
        .kubectl(&["get", "externalsecrets", "-o", "name", "-n", place.namespace()])?;
    ensure!(there.is_empty(), "{there}");
    place.aws.mend();
    let again = place
        .eso
        .external_secret(EXTERNAL_SECRET, STORE, STORED, &["username", "password"]);
    place.eso.apply(&[again]).await?;
    place.completed(&nonce).await?;
    ensure!(self::uid(place).await? != uid, "it is the same Secret");
    // Asked by patches only.
    requests(place)?;
    place.rotated(&before, &[app]).await
}

/// A Secret that is only merged into is gone. The operator is content.
async fn trap32(place: &Place, app: &Consumer) -> Result<()> {
    let before = place.before().await?;
    let merge = r#"{"spec":{"target":{"creationPolicy":"Merge"}}}"#;
    let said = place.eso.synced(EXTERNAL_SECRET).await?;
    kubectl(
        place,
        &[
            "patch",
            "externalsecret",
            EXTERNAL_SECRET,
            "--type=merge",
            "-p",
            merge,
        ],
    )?;
    // Every change of the spec is a sync, and one that failed would be refused beforehand.
    eventually("the operator to have looked at it", LIMIT, async || {
        let now = place.eso.synced(EXTERNAL_SECRET).await?;
        ensure!(now.ready == Some(true) && now.version != said.version, "{now:?}");
        Ok(Some(()))
    })
    .await?;
    let deny = Fault::always(Action::GetSecretValue, How::Deny);
    place.aws.fault_of(&place.aws.key().id, STORED, deny);
    let nonce = place.ask().await?;
    told(place, &["cannot sync"]).await?;
    kubectl(place, &["delete", "secret", CREDENTIALS_SECRET])?;
    place.aws.mend();
    told(place, &["has synced and brought nothing", "describe"]).await?;
    let said = place.eso.synced(EXTERNAL_SECRET).await?;
    ensure!(said.ready == Some(true), "{said:?}");
    both_valid(place, &before.login).await?;
    // Without the operator's label, as its owner would make it.
    let Login { user, password } = &before.login;
    let data = [("username", user.as_str()), ("password", password.as_str())];
    place.stage.namespace.secret(CREDENTIALS_SECRET, &data).await?;
    place.completed(&nonce).await?;
    place.rotated(&before, &[app]).await
}

#[test]
fn trap63_point_5_what_is_asked_of_a_child_shows_in_the_data_alone_and_its_owner_is_asked() {
    tandem_lab::run(|lab| async move {
        let mut place = Place::new(&lab, "child", Setup::default()).await?;
        let app = place.app("app", 2).await?;
        owned(&mut place).await.context("the ClusterExternalSecret")?;
        let before = place.before().await?;
        let deny = Fault::always(Action::GetSecretValue, How::Deny);
        place.aws.fault_of(&place.aws.key().id, STORED, deny);
        let nonce = place.ask().await?;
        told(&place, &["cannot sync"]).await?;
        place.aws.mend();
        // Somebody asks the child: it syncs, and its owner wipes the annotation away.
        place.eso.annotate(EXTERNAL_SECRET, "63").await?;
        place.completed(&nonce).await?;
        place.rotated(&before, &[&app]).await?;
        let child = place.lab.kubectl(&[
            "get",
            "externalsecret",
            EXTERNAL_SECRET,
            "-o",
            "json",
            "-n",
            place.namespace(),
        ])?;
        let child: Value = serde_json::from_str(&child)?;
        ensure!(
            child["metadata"]["annotations"].get("force-sync").is_none(),
            "the owner has left what somebody put on its child"
        );
        let asked = requests(&place)?;
        ensure!(
            !asked.is_empty()
                && asked
                    .iter()
                    .all(|request| request.resource == "clusterexternalsecrets"),
            "{asked:?}"
        );
        // And without anybody's help.
        let before = place.before().await?;
        place.rotate().await?;
        place.rotated(&before, &[&app]).await
    });
}

/// From now on a `ClusterExternalSecret` makes the `ExternalSecret`, through a `ClusterSecretStore`.
async fn owned(place: &mut Place) -> Result<()> {
    kubectl(place, &["delete", "externalsecret", EXTERNAL_SECRET])?;
    place.eso.stop().await?;
    let options = EsoOptions::of(&place.aws).with_cluster_external_secrets();
    place.eso = place.stage.namespace.eso(options).await?;
    let name = place.namespace().to_owned();
    let properties = ["username", "password"];
    let objects = [
        place.eso.cluster_secret_store(&name, ""),
        place
            .eso
            .cluster_external_secret(EXTERNAL_SECRET, &name, STORED, &properties),
    ];
    place.eso.apply(&objects).await?;
    eventually("the Secret to be made again", LIMIT, async || {
        Ok(place.credential().await.ok().map(drop))
    })
    .await?;
    let rights = ["clustersecretstores", "clusterexternalsecrets"].map(|kind| format!("{kind}/{name}"));
    place
        .controller
        .grant_with(&name, &place.policy_text(), &rights)
        .await?;
    // An edit has it looked at again.
    place.patch(json!({"spec": {"password": {"length": 40}}})).await?;
    place.ready().await
}

async fn uid(place: &Place) -> Result<Option<String>> {
    let secret: Secret = place.stage.namespace.api().get(CREDENTIALS_SECRET).await?;
    Ok(secret.metadata.uid)
}
