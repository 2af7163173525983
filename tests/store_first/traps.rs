//! Traps that a rotation goes through: success is never believed over old data, nothing waits for ever, and nobody
//! notices. The numbers are those of external-secrets-observed, and the points those of its section D. What Tandem reads
//! and asks in each of them, without a rotation around it, is in `tests/operator`.
//!
//! | number | where it is |
//! |---|---|
//! | 12, 14, 27, points 1, 2, 3, 7, 8 | here: `success_over_old_data…` |
//! | 54, 57, 58, 60, points 3, 6 | here: `an_operator_that_cannot…` |
//! | 32, 38, 63, 72, points 5, 7 | `traps_made_anew.rs` |
//! | 18, 32, 36, 37, 39, 57, 59, 66, 69, point 4 | `refused.rs` |

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DeleteParams};
use tandem::api::FORCE_SYNC;
use tandem_lab::aws::{self, Action, Fault, How};
use tandem_lab::{AWS_KEYS_SECRET, CREDENTIALS_SECRET, Consumer, Login, eventually};

use crate::place::{EXTERNAL_SECRET, Place, STORE, STORED, Setup};
use crate::scene::LIMIT;
use crate::still::requests;

/// Logins as they are usually allowed.
const OPEN: &str = "hostssl all all all scram-sha-256";
/// Marks a Secret that the operator watches.
const MANAGED: &str = "reconcile.external-secrets.io/managed";

#[test]
fn trap12_14_27_points_1_2_3_7_8_success_over_old_data_is_never_believed_and_no_success_over_new() {
    tandem_lab::run(|lab| async move {
        let place = Place::new(&lab, "believed", Setup::default()).await?;
        let app = place.app("app", 2).await?;
        trap12(&place, &app).await.context("trap 12")?;
        let first = request(&place)?;
        trap14(&place, &app).await.context("trap 14")?;
        ensure!(request(&place)? != first, "a value was used again");
        trap27(&place, &app).await.context("trap 27")
    });
}

/// Somebody asks before the move. The operator reports success, and the data are old.
async fn trap12(place: &Place, app: &Consumer) -> Result<()> {
    let (before, revision) = (place.before().await?, place.revision("app").await?);
    // The standby cannot log in yet, so that there is no move for now.
    let pair = &place.stage.pair;
    let standby = if before.login.user == pair.a.user {
        &pair.b
    } else {
        &pair.a
    };
    let closed = format!("hostssl all {} all reject\n{OPEN}", standby.user);
    place.stage.postgres.set_hba(&closed).await?;
    let nonce = place.ask().await?;
    place.phase("Staged").await?;
    let said = place.eso.synced(EXTERNAL_SECRET).await?;
    place.eso.annotate(EXTERNAL_SECRET, "before").await?;
    eventually("the operator to report success", LIMIT, async || {
        let now = place.eso.synced(EXTERNAL_SECRET).await?;
        ensure!(now.ready == Some(true) && now.version != said.version, "{now:?}");
        Ok(Some(()))
    })
    .await?;
    // Point 8: the annotation has been copied to the Secret, and that starts nothing.
    let secret: Secret = place.stage.namespace.api().get(CREDENTIALS_SECRET).await?;
    let copied = secret.metadata.annotations.unwrap_or_default();
    ensure!(
        copied.get("force-sync").map(String::as_str) == Some("before"),
        "{copied:?}"
    );
    ensure!(place.credential().await? == before.login, "the data have changed");
    ensure!(
        place.revision("app").await? == revision,
        "the application was restarted"
    );
    ensure!(
        requests(place)?.is_empty(),
        "Tandem has asked before there was anything to ask for"
    );

    place.stage.postgres.set_hba(OPEN).await?;
    place.completed(&nonce).await?;
    place.rotated(&before, &[app]).await?;
    ensure!(
        place.revision("app").await? == revision + 1,
        "the application was not restarted exactly once"
    );
    // Point 3: first the move, then the request.
    let current = place.labelled("AWSCURRENT")?.id;
    let mut calls = place.aws.calls(STORED).into_iter();
    let moved = calls
        .find(|call| call.action == "UpdateSecretVersionStage" && call.version.as_ref() == Some(&current))
        .context("no move")?;
    let asked = requests(place)?.first().context("no request")?.at;
    ensure!(moved.at < asked, "asked at {asked}, and moved at {}", moved.at);
    Ok(())
}

/// The operator is asked again while it reads: it writes the new data, and its status stays the old one.
async fn trap14(place: &Place, app: &Consumer) -> Result<()> {
    let before = place.before().await?;
    let said = place.eso.synced(EXTERNAL_SECRET).await?;
    // Longer than Tandem waits before it asks again.
    let slow = How::HangAfter(Duration::from_secs(8));
    place.aws.fault_of(
        &place.aws.key().id,
        STORED,
        Fault::always(Action::GetSecretValue, slow),
    );
    let nonce = place.ask().await?;
    place.phase("Delivered").await?;
    let now = place.eso.synced(EXTERNAL_SECRET).await?;
    ensure!(
        (&now.version, now.at) == (&said.version, said.at),
        "the status says it as well: {now:?}"
    );
    place.aws.mend();
    place.completed(&nonce).await?;
    place.rotated(&before, &[app]).await
}

/// Without its label the operator is blind to the Secret, and reports success over whatever is there.
async fn trap27(place: &Place, app: &Consumer) -> Result<()> {
    let before = place.before().await?;
    kubectl(
        place,
        &["label", "secret", CREDENTIALS_SECRET, &format!("{MANAGED}-")],
    )?;
    place.rotate().await?;
    let secret: Secret = place.stage.namespace.api().get(CREDENTIALS_SECRET).await?;
    ensure!(
        secret.metadata.labels.unwrap_or_default().contains_key(MANAGED),
        "the label is still away"
    );
    place.rotated(&before, &[app]).await
}

#[test]
fn trap54_57_58_60_points_3_6_an_operator_that_cannot_is_told_and_asked_until_it_can() {
    tandem_lab::run(|lab| async move {
        let mut place = Place::new(&lab, "trouble", Setup::default()).await?;
        let app = place.app("app", 2).await?;
        trap60(&mut place, &app).await.context("trap 60")?;
        trap54(&place, &app).await.context("trap 54")?;
        point3(&place, &app).await.context("point 3")?;
        trap57_58(&place, &app).await.context("traps 57 and 58")
    });
}

/// The operator is down, and its status says that all is well.
async fn trap60(place: &mut Place, app: &Consumer) -> Result<()> {
    let before = place.before().await?;
    place.eso.stop().await?;
    let nonce = place.ask().await?;
    told(place, &["is not running", "asked 2 times", "kubectl get pods -A"]).await?;
    let said = place.eso.synced(EXTERNAL_SECRET).await?;
    ensure!(said.ready == Some(true), "{said:?}");
    both_valid(place, &before.login).await?;
    place.eso.start().await?;
    place.completed(&nonce).await?;
    place.rotated(&before, &[app]).await
}

/// Another secret hangs, and with it everything else that the operator should do.
async fn trap54(place: &Place, app: &Consumer) -> Result<()> {
    const SLOW: &str = "somebody/else";
    let before = place.before().await?;
    place
        .aws
        .create(SLOW, aws::Value::Text(r#"{"password": "x"}"#.into()))?;
    // Longer than a rotation takes to come to it on a busy machine.
    let hang = How::Hang(Duration::from_secs(30));
    place.aws.fault(SLOW, Fault::once(Action::GetSecretValue, hang));
    let slow = place.eso.external_secret("slow", STORE, SLOW, &["password"]);
    place.eso.apply(&[slow]).await?;
    eventually("the call that hangs", LIMIT, async || {
        Ok((!place.aws.calls(SLOW).is_empty()).then_some(()))
    })
    .await?;
    let nonce = place.ask().await?;
    told(place, &["busy"]).await?;
    both_valid(place, &before.login).await?;
    place.completed(&nonce).await?;
    place.rotated(&before, &[app]).await
}

/// The operator's own back-off grows to minutes. Tandem asks within seconds.
async fn point3(place: &Place, app: &Consumer) -> Result<()> {
    let before = place.before().await?;
    let deny = Fault::always(Action::GetSecretValue, How::Deny);
    place.aws.fault_of(&place.aws.key().id, STORED, deny);
    let nonce = place.ask().await?;
    told(place, &["cannot sync", "asked 2 times", "describe"]).await?;
    both_valid(place, &before.login).await?;
    place.aws.mend();
    place.completed(&nonce).await?;
    place.rotated(&before, &[app]).await?;
    // Each request cut the back-off short, after the move as well.
    let patience = Duration::from_secs(40);
    let asked = requests(place)?;
    let gaps = asked.iter().rev().zip(asked.iter().rev().skip(1));
    for (next, one) in gaps.take(2) {
        let waited = Duration::try_from(next.at.duration_since(one.at))?;
        ensure!(waited < patience, "asked at {} and then at {}", one.at, next.at);
    }
    Ok(())
}

/// The store's keys are gone. It says that it is ready until somebody touches it; and when it is ready again, the
/// operator does not sync by itself.
async fn trap57_58(place: &Place, app: &Consumer) -> Result<()> {
    let before = place.before().await?;
    let secrets: Api<Secret> = place.stage.namespace.api();
    secrets.delete(AWS_KEYS_SECRET, &DeleteParams::default()).await?;
    let nonce = place.ask().await?;
    told(place, &["cannot sync", "ExternalSecret"]).await?;
    kubectl(place, &["annotate", "secretstore", STORE, "touched=1"])?;
    told(place, &["SecretStore", "is not ready"]).await?;
    both_valid(place, &before.login).await?;
    place.eso.keys(place.aws.key()).await?;
    place.completed(&nonce).await?;
    place.rotated(&before, &[app]).await
}

/// Waits until the running rotation says all of this.
pub(crate) async fn told(place: &Place, says: &[&str]) -> Result<()> {
    eventually(format_args!("{says:?}"), LIMIT, async || {
        let status = place.status().await?;
        let rotation = status.rotation.context("no rotation runs")?;
        ensure!(
            says.iter().all(|part| rotation.message.contains(part)),
            "{}: {}",
            rotation.phase,
            rotation.message
        );
        Ok(Some(()))
    })
    .await
}

/// The credential that applications have and the one that the store has both log in.
pub(crate) async fn both_valid(place: &Place, before: &Login) -> Result<()> {
    ensure!(place.logs_in(before).await, "{} cannot log in", before.user);
    let stored = place.stored()?;
    ensure!(stored.user != before.user, "there was no move");
    ensure!(place.logs_in(&stored).await, "{} cannot log in", stored.user);
    Ok(())
}

/// What Tandem has asked for last.
fn request(place: &Place) -> Result<String> {
    let path = format!(
        "jsonpath={{.metadata.annotations.{}}}",
        FORCE_SYNC.replace('.', "\\.")
    );
    place.lab.kubectl(&[
        "get",
        "externalsecret",
        EXTERNAL_SECRET,
        "-o",
        &path,
        "-n",
        place.namespace(),
    ])
}

/// In the namespace of the place.
pub(crate) fn kubectl(place: &Place, arguments: &[&str]) -> Result<()> {
    let namespace = ["--namespace", place.namespace()];
    place.lab.kubectl(&[arguments, &namespace].concat()).map(drop)
}
