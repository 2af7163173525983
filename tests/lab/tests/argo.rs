//! The real Argo Rollouts in the lab.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tandem_lab::{Consumer, ConsumerOptions, Kind, PostgresOptions, eventually, run};

/// A restart looks at itself again only after half a minute, when it missed that a pod had become ready.
const RESTARTED: Duration = Duration::from_secs(90);

async fn pods(consumer: &Consumer) -> Result<BTreeSet<String>> {
    let pods = consumer.pods().await?.into_iter();
    pods.map(|pod| pod.metadata.name.context("a pod without a name"))
        .collect()
}

#[test]
fn a_rollout_replaces_its_pods_when_it_is_told_the_time_and_not_while_its_controller_is_down() {
    run(|lab| async move {
        let namespace = lab.namespace("argo").await?;
        let mut argo = namespace.argo_rollouts().await?;
        let stage = namespace.stage(PostgresOptions::default()).await?;
        let rollout = ConsumerOptions::of(&stage.postgres).kind(Kind::Rollout);
        let rollout = namespace.consumer(rollout).await?;
        let first = pods(&rollout).await?;
        ensure!(first.len() == 2, "{first:?}");
        argo.stop().await?;
        let at = Timestamp::from_second((Timestamp::now() + SignedDuration::from_secs(1)).as_second())?;
        rollout.change(&json!({"spec": {"restartAt": at}})).await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(pods(&rollout).await?, first, "nobody is there to do it");
        argo.start().await?;
        eventually("both pods to be replaced", RESTARTED, async || {
            let now = pods(&rollout).await?;
            if now.len() != 2 || !now.is_disjoint(&first) {
                bail!("{now:?} instead of {first:?}");
            }
            Ok(Some(()))
        })
        .await?;
        rollout.wait_until_ready().await?;
        assert!(argo.logs()?.contains("Reconcile pod restart"), "it was asked to");
        let tally = rollout.tally()?;
        assert_eq!(tally.failed_logins(), 0, "{tally:?}");
        Ok(())
    });
}
