//! That a rotation which was asked for does not begin, and nothing is changed.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tandem_lab::{Request, eventually};

use crate::place::{Place, STORED};
use crate::scene::POLICY;

/// A refusal takes a second or two, and a look at preflight comes every fifteen.
const REFUSED: Duration = Duration::from_mins(1);

/// Everything that a rotation changes, as it is at one time.
#[derive(PartialEq, Eq)]
pub(crate) struct Still {
    /// The versions in the store, and their labels.
    versions: BTreeMap<String, Vec<String>>,
    /// All that the server knows of its roles, their passwords included.
    roles: Option<String>,
    /// The journal: which rotations there were.
    journal: Option<String>,
    /// How often the operator was asked to sync.
    asked: usize,
}

impl Still {
    pub(crate) async fn of(place: &Place) -> Result<Self> {
        let versions = place.aws.versions(STORED).into_iter();
        let journal = place
            .stage
            .namespace
            .read_secret(&format!("{POLICY}-tandem"))
            .await?;
        Ok(Self {
            versions: versions
                .map(|version| (version.id, version.stages.into_iter().collect()))
                .collect(),
            roles: place
                .stage
                .postgres
                .value(
                    "postgres",
                    "SELECT string_agg(role::text, ' ' ORDER BY rolname) FROM pg_authid AS role",
                )
                .await?,
            journal: journal.get("journal.json").cloned(),
            asked: requests(place)?.len(),
        })
    }

    /// It is still so.
    pub(crate) async fn holds(&self, place: &Place) -> Result<()> {
        let now = Self::of(place).await?;
        ensure!(now.versions == self.versions, "the store was changed");
        ensure!(now.roles == self.roles, "a role was changed");
        ensure!(now.journal == self.journal, "the journal was changed");
        ensure!(now.asked == self.asked, "the operator was asked to sync");
        place.secret_never_written()
    }
}

/// Tandem's requests to sync. They are patches and nothing else: another write could make an object that is gone
/// (trap 72).
pub(crate) fn requests(place: &Place) -> Result<Vec<Request>> {
    let account = place.controller.service_account();
    let mut asked = place
        .audit
        .clone()
        .service_account(place.controller.namespace(), account)
        .read()?;
    asked.retain(|request| {
        request.is_write()
            && ["externalsecrets", "clusterexternalsecrets"].contains(&request.resource.as_str())
    });
    let other = asked.iter().find(|request| request.verb != "patch");
    ensure!(other.is_none(), "{other:?}");
    asked.retain(|request| request.code == 200);
    Ok(asked)
}

/// With the policy changed so, a rotation that is asked for is refused in these words, and none begins.
pub(crate) async fn refuses(place: &Place, change: Value, says: &[&str]) -> Result<()> {
    let before = Still::of(place).await?;
    place.apply(change).await?;
    place.ask().await?;
    refused(place, says).await?;
    before.holds(place).await
}

/// A rotation was asked for, and is refused in these words. The request is taken back then.
pub(crate) async fn refused(place: &Place, says: &[&str]) -> Result<()> {
    eventually("a clear refusal", REFUSED, async || {
        let status = place.status().await?;
        ensure!(status.rotation.is_none(), "a rotation began");
        let ready = status.conditions.iter().find(|c| c.type_ == "Ready");
        let ready = ready.context("there is no condition yet")?;
        let told = format!("{} {}: {}", ready.status, ready.reason, ready.message);
        ensure!(
            ready.status == "False" && says.iter().all(|part| told.contains(part)),
            "{told}"
        );
        Ok(Some(()))
    })
    .await?;
    place
        .patch(json!({"metadata": {"annotations": {"tandem.dev/rotate-now": null}}}))
        .await
}
