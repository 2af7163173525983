//! The annotations strategy, and who restarts when the policy leaves it to Reloader alone.

use anyhow::ensure;
use serde_json::json;
use tandem_lab::ReloaderOptions;

use crate::beside::{Beside, Mark, NAMED};

#[test]
fn case19_its_annotation_is_recognised_and_mode_reloader_only_ever_waits() {
    tandem_lab::run(|lab| async move {
        let mut beside = Beside::new(&lab, "annotated", json!({}), ReloaderOptions::annotations()).await?;
        let web = beside.annotated("web", &[(NAMED, "db-credentials")]).await?;
        let marks = [(&web, Mark::Annotation)];
        let before = beside.start(&marks).await?;
        let nonce = beside.ask().await?;
        beside.completed(&nonce).await?;
        beside.stays(&before, &marks).await?;

        beside
            .patch(json!({"spec": {"restart": {"mode": "Reloader"}}}))
            .await?;
        beside.rotates(&marks).await?;

        // Nobody else may restart, and nobody does: nothing begins.
        beside.reloader.stop().await?;
        let before = beside.start(&marks).await?;
        let nonce = beside.ask().await?;
        let message = beside.reason("ReloaderMissing").await?;
        ensure!(message.contains("kubectl -n"), "{message}");
        beside.reloader.start().await?;
        beside.completed(&nonce).await?;
        beside.stays(&before, &marks).await
    });
}
