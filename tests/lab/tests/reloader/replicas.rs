//! Several Reloaders for one namespace, with and without a Lease. The double only: of the real one there can be but one
//! in a lab.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tandem_lab::{Lab, Namespace, Reloader, ReloaderOptions, run};

use crate::corner::Corner;
use crate::given::cron_job;
use crate::observe::{api, event_count};
use crate::promptly::promptly;

const SOON: Duration = Duration::from_secs(20);
const TAKEOVER: Duration = Duration::from_secs(40);

async fn replica(namespace: &Namespace, name: &str) -> Result<Reloader> {
    let options = ReloaderOptions::default().bare().double().named(name);
    let options = options.arg("--enable-ha=true").env("POD_NAME", name);
    let options = options.env("POD_NAMESPACE", namespace.name());
    namespace.reloader(options).await
}

async fn lease(namespace: &Namespace) -> Result<LeaseSpec> {
    let leases: Api<Lease> = namespace.api();
    let found = leases.get("stakater-reloader-lock").await?;
    found.spec.context("the Lease is empty")
}

async fn until_held_by(namespace: &Namespace, holder: &str, patience: Duration) -> Result<LeaseSpec> {
    let held = promptly(format!("{holder} to lead"), patience, async || {
        let spec = lease(namespace).await?;
        ensure!(spec.holder_identity.as_deref() == Some(holder), "{spec:?}");
        Ok(Some(spec))
    });
    held.await
}

#[test]
fn case166_to_170_what_changes_between_two_leaders_is_lost() {
    run(|lab: Lab| async move {
        let corner = Corner::new(&lab).await?;
        let namespace = &corner.namespace;
        let mut one = replica(namespace, "one").await?;
        let first = until_held_by(namespace, "one", SOON).await?;
        assert_eq!(
            (first.lease_duration_seconds, first.lease_transitions),
            (Some(15), Some(0))
        );
        let mut two = replica(namespace, "two").await?;
        corner.change("p1").await?;
        corner.until_handled("p1").await?;
        assert_eq!(corner.writes().await?, 1);

        one.kill().await?;
        corner.change("p2").await?;
        let second = until_held_by(namespace, "two", TAKEOVER).await?;
        assert_eq!(second.lease_transitions, Some(1));
        // Its first list has the change already, so to it there was none.
        let audit = lab.audit().service_account(namespace.name(), two.name());
        let watching = promptly("the new leader to watch", SOON, async || {
            let mut requests = audit.read()?.into_iter();
            let watches = requests.any(|request| request.verb == "watch" && request.resource == "secrets");
            Ok(watches.then_some(()))
        });
        watching.await?;
        corner.change("p3").await?;
        corner.until_handled("p3").await?;
        assert_eq!(corner.writes().await?, 2);

        // Who loses the Lease does nothing any more, and goes on running.
        let stolen = json!({"spec": {"holderIdentity": "thief"}});
        let leases: Api<Lease> = namespace.api();
        let params = PatchParams::default();
        leases
            .patch("stakater-reloader-lock", &params, &Patch::Merge(stolen))
            .await?;
        let stopped = promptly("the leader to stop", SOON, async || {
            let stopped = two.logs()?.contains("not leading any more");
            Ok(stopped.then_some(()))
        });
        stopped.await?;
        corner.change("p5").await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!((corner.writes().await?, two.exit()?), (2, None));
        Ok(())
    });
}

#[test]
fn case171_two_that_know_nothing_of_each_other_write_one_variable_and_two_events() {
    run(|lab: Lab| async move {
        let corner = Corner::new(&lab).await?;
        let options = ReloaderOptions::default().bare().double();
        let _one = corner.namespace.reloader(options.clone().named("one")).await?;
        let _two = corner.namespace.reloader(options.named("two")).await?;
        corner.change("p1").await?;
        let told = promptly("both to tell of it", SOON, async || {
            let count = event_count(&corner.namespace, "web").await?;
            ensure!(count >= 1, "nobody has told of it");
            Ok(Some(count))
        });
        // The later one may have found the variable there, and then it has nothing to tell.
        assert!(told.await? <= 2);
        corner.until_handled("p1").await?;
        assert_eq!(corner.writes().await?, 1);
        Ok(())
    });
}

#[test]
fn case172_two_that_know_nothing_of_each_other_write_one_annotation_in_a_second() {
    run(|lab: Lab| async move {
        let corner = Corner::new(&lab).await?;
        let options = ReloaderOptions::annotations().bare().double();
        let _one = corner.namespace.reloader(options.clone().named("one")).await?;
        let _two = corner.namespace.reloader(options.named("two")).await?;
        // The mark has the second in it. At the beginning of one both write the same.
        let second = Duration::from_secs(1);
        let into = Duration::from_nanos(Timestamp::now().subsec_nanosecond().unsigned_abs().into());
        tokio::time::sleep(second.saturating_sub(into)).await;
        corner.change("p1").await?;
        let told = promptly("both to tell of it", SOON, async || {
            let count = event_count(&corner.namespace, "web").await?;
            ensure!(count >= 2, "told {count} times");
            Ok(Some(count))
        });
        assert_eq!((told.await?, corner.writes().await?), (2, 1));
        Ok(())
    });
}

#[test]
fn case173_two_that_know_nothing_of_each_other_start_two_jobs() {
    run(|lab: Lab| async move {
        let corner = Corner::new(&lab).await?;
        let cron_jobs = api(&corner.namespace, "batch", "CronJob");
        let object = serde_json::from_value(cron_job("cj").named("db").object())?;
        cron_jobs.create(&PostParams::default(), &object).await?;
        let options = ReloaderOptions::default().bare().double();
        let _one = corner.namespace.reloader(options.clone().named("one")).await?;
        let _two = corner.namespace.reloader(options.named("two")).await?;
        corner.change("p1").await?;
        let jobs: Api<Job> = corner.namespace.api();
        let both = promptly("two Jobs", SOON, async || {
            let found = jobs.list(&ListParams::default()).await?.items.len();
            ensure!(found == 2, "there are {found}");
            Ok(Some(()))
        });
        both.await
    });
}
