//! The annotations strategy, and who restarts when the policy leaves it to Reloader alone.

use anyhow::ensure;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{Api, DeleteParams};
use serde_json::json;
use tandem_lab::{ConsumerOptions, Kind, ReloaderOptions};

use crate::beside::{Beside, Mark, NAMED};
use crate::scene::unharmed;

#[test]
fn case19_case33_its_annotation_is_recognised_and_mode_reloader_only_ever_waits() {
    tandem_lab::run(|lab| async move {
        let mut beside = Beside::new(&lab, "annotated", json!({}), ReloaderOptions::annotations()).await?;
        let web = beside.annotated("web", &[(NAMED, "db-credentials")]).await?;
        let options = ConsumerOptions::of(&beside.stage.postgres)
            .named("import")
            .kind(Kind::Job)
            .annotation(NAMED, "db-credentials");
        let import = beside.stage.namespace.consumer(options).await?;
        let jobs: Api<Job> = beside.stage.namespace.api();
        let first = jobs.get("import").await?.metadata.uid;
        let marks = [(&web, Mark::Annotation)];
        let before = beside.start(&marks).await?;
        let nonce = beside.ask().await?;
        beside.completed(&nonce).await?;
        beside.stays(&before, &marks).await?;
        unharmed(&import.tally()?)?;
        ensure!(
            jobs.get("import").await?.metadata.uid != first,
            "Reloader has not made the Job again, and yet the old user was retired"
        );
        jobs.delete("import", &DeleteParams::background()).await?;

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
