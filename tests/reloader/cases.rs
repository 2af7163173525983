//! The compatibility cases in the env-vars strategy, by their numbers, one rotation after the other in one scene.

use anyhow::ensure;
use serde_json::json;
use tandem_lab::ReloaderOptions;

use crate::beside::{AUTO, Beside, Mark, NAMED};

#[test]
fn case18_case22_case28_case27_fm36_each_consumer_is_restarted_once_whoever_does_it() {
    tandem_lab::run(|lab| async move {
        let beside = Beside::new(&lab, "beside", json!({}), ReloaderOptions::default()).await?;
        let web = beside.annotated("web", &[(NAMED, "other, db-.*")]).await?;
        let api = beside.annotated("api", &[(AUTO, "true")]).await?;
        let excluded = [
            (AUTO, "true"),
            ("secrets.exclude.reloader.stakater.com/reload", "db-credentials"),
        ];
        let shy = beside.annotated("shy", &excluded).await?;
        let plain = beside.annotated("plain", &[]).await?;
        let marks = [
            (&web, Mark::Variable),
            (&api, Mark::Variable),
            (&shy, Mark::Own),
            (&plain, Mark::Own),
        ];
        let before = beside.start(&marks).await?;
        let nonce = beside.ask().await?;
        let status = beside.completed(&nonce).await?;
        beside.ended(&before, &marks).await?;
        let restarts: Vec<_> = status
            .consumers
            .iter()
            .map(|consumer| (consumer.name.as_str(), consumer.restarted_by.as_deref()))
            .collect();
        let expected = [
            ("api", "Reloader"),
            ("plain", "Tandem"),
            ("shy", "Tandem"),
            ("web", "Reloader"),
        ];
        ensure!(
            restarts == expected.map(|(name, who)| (name, Some(who))),
            "{restarts:?}"
        );
        beside.stays(&before, &marks).await?;

        // Reloader is told to ignore the Secret: whoever uses it is restarted all the same, by Tandem.
        beside
            .annotate_secret(json!({"reloader.stakater.com/ignore": "true"}))
            .await?;
        beside
            .rotates(&[
                (&web, Mark::Own),
                (&api, Mark::Own),
                (&shy, Mark::Own),
                (&plain, Mark::Own),
            ])
            .await?;
        let (_, message) = beside.condition("Preflight", "True").await?;
        ensure!(
            message.contains("carries reloader.stakater.com/ignore"),
            "{message}"
        );
        Ok(())
    });
}

#[test]
fn case29_case20_case21_a_late_reloader_rolls_nobody_out_again_and_a_gone_one_is_not_waited_for() {
    tandem_lab::run(|lab| async move {
        let mut beside = Beside::new(&lab, "late", json!({}), ReloaderOptions::default()).await?;
        let web = beside.annotated("web", &[(NAMED, "db-credentials")]).await?;
        let marks = [(&web, Mark::Variable)];

        // Frozen, it looks well; Tandem makes the identical write when its time is over.
        beside.reloader.freeze()?;
        let before = beside.start(&marks).await?;
        let nonce = beside.ask().await?;
        let waits = beside.reason("WaitingForReloader").await?;
        ensure!(
            waits.contains("deployment/web") && waits.contains("in its stead"),
            "{waits}"
        );
        beside.completed(&nonce).await?;
        beside.ended(&before, &marks).await?;
        beside.reloader.thaw()?;
        beside.stays(&before, &marks).await?;

        // Killed, what changes meanwhile is lost to it.
        beside.reloader.kill().await?;
        let before = beside.start(&marks).await?;
        let nonce = beside.ask().await?;
        beside.completed(&nonce).await?;
        beside.ended(&before, &marks).await?;
        beside.reloader.start().await?;
        beside.stays(&before, &marks).await?;

        // Gone, as its Deployment says, although what it has published is still there.
        beside.reloader.stop().await?;
        beside.rotates(&[(&web, Mark::Own)]).await?;
        Ok(())
    });
}
