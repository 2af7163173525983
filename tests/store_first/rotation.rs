//! One whole rotation: store, operator, Secret, pods, and nobody notices.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::api::Api;
use tandem_lab::CREDENTIALS_SECRET;

use crate::place::{EXTERNAL_SECRET, Place, STORED, Setup};

#[test]
fn case01_case05_a_rotation_goes_through_the_store_and_the_operator_and_nobody_notices() {
    tandem_lab::run(|lab| async move {
        let place = Place::new(&lab, "first", Setup::default()).await?;
        let app = place.app("app", 2).await?;
        for number in 1..=2 {
            let (before, revision) = (place.before().await?, place.revision("app").await?);
            let synced = place.eso.synced(EXTERNAL_SECRET).await?;
            let status = place.rotate().await?;
            place.rotated(&before, &[&app]).await?;
            ensure!(
                place.revision("app").await? == revision + 1,
                "the application was not restarted exactly once"
            );
            ensure!(
                status.last_rotation.map(|last| last.number) == Some(number),
                "this is not rotation {number}"
            );
            brought_at_once(&place)?;
            let now = place.eso.synced(EXTERNAL_SECRET).await?;
            ensure!(
                now.ready == Some(true) && now.version != synced.version,
                "the operator says {now:?}"
            );
        }
        only_the_operator_wrote(&place).await?;
        // And nothing more.
        let (before, revision) = (place.before().await?, place.revision("app").await?);
        let reads = place.reads_by_operator();
        place.unchanged(&before).await?;
        ensure!(place.reads_by_operator() == reads, "the operator synced again");
        ensure!(
            place.revision("app").await? == revision,
            "the application was restarted again"
        );
        Ok(())
    });
}

/// The operator read the store within seconds of the last move, and not when its hour was over.
fn brought_at_once(place: &Place) -> Result<()> {
    let calls = place.aws.calls(STORED);
    let moved = calls
        .iter()
        .rfind(|call| call.stages == ["AWSCURRENT"] && call.removed_from.is_some())
        .context("AWSCURRENT was never moved")?;
    let read = calls
        .iter()
        .find(|call| call.key == place.aws.key().id && call.at > moved.at)
        .context("the operator has not read the store since")?;
    let took = read.at.duration_since(moved.at);
    eprintln!("from the move to the operator's read: {} ms", took.as_millis());
    ensure!(took.as_secs() < 5, "it took {took:#}");
    Ok(())
}

/// Since the operator has made it, nobody else has so much as asked to change the Secret.
async fn only_the_operator_wrote(place: &Place) -> Result<()> {
    let secrets: Api<Secret> = place.stage.namespace.api();
    let metadata = secrets.get(CREDENTIALS_SECRET).await?.metadata;
    for entry in metadata.managed_fields.iter().flatten() {
        let manager = entry.manager.as_deref().unwrap_or_default();
        ensure!(
            manager.starts_with("externalsecrets.external-secrets.io/"),
            "{manager} owns fields of the Secret"
        );
    }
    let requests = place.audit.clone().namespace(place.namespace()).read()?;
    let operator = format!(
        "system:serviceaccount:{}:{}",
        place.namespace(),
        place.eso.service_account()
    );
    let writes = requests.iter().filter(|request| {
        request.is_write()
            && request.resource == "secrets"
            && request.name.as_deref() == Some(CREDENTIALS_SECRET)
    });
    let users: BTreeSet<_> = writes.map(|request| request.user.as_str()).collect();
    // The lab made a Secret of that name first, and deleted it.
    ensure!(
        users == BTreeSet::from([operator.as_str(), "lab-admin"]),
        "these wrote it: {users:?}"
    );
    Ok(())
}
