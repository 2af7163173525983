//! A Job that has ended.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::batch::v1::Job;
use kube::api::{Api, PostParams};
use serde_json::json;
use tandem_lab::{Lab, ReloaderOptions, run};

use crate::corner::Corner;
use crate::given::job;
use crate::promptly::promptly;

const SOON: Duration = Duration::from_secs(20);

#[test]
fn case74_a_job_that_has_ended_is_made_again_and_runs_again() {
    run(|lab: Lab| async move {
        let corner = Corner::new(&lab).await?;
        let jobs: Api<Job> = corner.namespace.api();
        // With nothing to do it ends as soon as its controller has seen it.
        let ended = job("import")
            .named("db")
            .spec(json!({"suspend": false, "completions": 0}));
        let object = serde_json::from_value(ended.object())?;
        jobs.create(&PostParams::default(), &object).await?;
        let complete = async |other_than: Option<String>| {
            promptly("the Job to end", SOON, async || {
                let job = jobs.get("import").await?;
                let conditions = job
                    .status
                    .and_then(|status| status.conditions)
                    .unwrap_or_default();
                ensure!(
                    conditions.iter().any(|condition| condition.type_ == "Complete"),
                    "it has {conditions:?}"
                );
                ensure!(job.metadata.uid != other_than, "it has not been made again");
                Ok(Some(job.metadata.uid.context("no uid")?))
            })
            .await
        };
        let first = complete(None).await?;
        let _reloader = corner
            .namespace
            .reloader(ReloaderOptions::default().bare())
            .await?;
        corner.change("p1").await?;
        complete(Some(first)).await.map(drop)
    });
}
