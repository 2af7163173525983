//! Applications in the lab, and whether they notice what they are there to notice.

use std::time::Duration;

use anyhow::Result;
use tandem_lab::{ConsumerOptions, Doing, Kind, Lab, PostgresOptions, Source, Stop, eventually, run};

#[test]
fn a_planted_failure_is_counted_and_a_healthy_time_is_not() {
    run(|lab: Lab| async move {
        let stage = lab
            .namespace("planted")
            .await?
            .stage(PostgresOptions::default())
            .await?;
        let app = stage
            .namespace
            .consumer(ConsumerOptions::of(&stage.postgres))
            .await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let healthy = app.tally()?;
        assert_eq!(healthy.failures, []);
        assert!(healthy.attempts_as["app_a"] > 40, "{healthy:?}");
        assert_eq!(healthy.pods.len(), 2);

        // What a rotation with one user does: the password changes under the application.
        stage
            .postgres
            .sql("postgres", "ALTER ROLE app_a PASSWORD 'another'")
            .await?;
        let failed = eventually("failed logins", Duration::from_secs(5), async || {
            Ok(Some(app.tally()?).filter(|tally| tally.failed_logins() > 5))
        });
        let failed = failed.await?;
        assert!(
            failed
                .failures
                .iter()
                .all(|failure| failure.sqlstate.as_deref() == Some("28P01")),
            "{failed:?}"
        );
        eventually(
            "the application to be unready",
            Duration::from_secs(10),
            async || {
                let ready = app.wait_until_ready();
                Ok(tokio::time::timeout(Duration::from_millis(300), ready)
                    .await
                    .is_err()
                    .then_some(()))
            },
        )
        .await?;

        // And the count outlives the pods.
        app.delete().await?;
        let gone = eventually("the pods to be gone", Duration::from_secs(30), async || {
            Ok(app.pods().await?.is_empty().then_some(()))
        });
        gone.await?;
        assert!(app.tally()?.failed_logins() >= failed.failed_logins());
        Ok(())
    });
}

#[test]
fn a_new_password_and_a_restart_fail_no_login_when_both_are_valid() {
    run(|lab: Lab| async move {
        let stage = lab
            .namespace("restart")
            .await?
            .stage(PostgresOptions::default())
            .await?;
        let app = stage
            .namespace
            .consumer(ConsumerOptions::of(&stage.postgres))
            .await?;
        let b = &stage.pair.b;
        stage
            .namespace
            .secret(
                "db-credentials",
                &[("username", &b.user), ("password", &b.password)],
            )
            .await?;
        app.restart().await?;
        app.wait_until_ready().await?;
        stage
            .postgres
            .sql("postgres", "ALTER ROLE app_a PASSWORD NULL")
            .await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let tally = app.tally()?;
        assert_eq!(tally.failures, []);
        assert_eq!(tally.pods.len(), 4);
        assert!(
            tally.attempts_as.contains_key("app_a") && tally.attempts_as.contains_key("app_b"),
            "{tally:?}"
        );
        Ok(())
    });
}

#[test]
fn every_kind_gets_its_login_in_every_way() {
    run(|lab: Lab| async move {
        let stage = lab
            .namespace("kinds")
            .await?
            .stage(PostgresOptions::default())
            .await?;
        let ways = [
            (Kind::StatefulSet, Source::EnvFrom),
            (Kind::DaemonSet, Source::Volume),
            (Kind::Pod, Source::Projected),
            (Kind::Job, Source::InitContainer),
        ];
        let apps = ways.map(|(kind, source)| {
            let options = ConsumerOptions::of(&stage.postgres)
                .kind(kind)
                .source(source)
                .replicas(1);
            stage
                .namespace
                .consumer(options.named(&format!("{kind:?}").to_lowercase()))
        });
        for app in futures::future::try_join_all(apps).await? {
            let tally = app.tally()?;
            assert!(
                tally.attempts > 0 && tally.failures.is_empty(),
                "{}: {tally:?}",
                app.name()
            );
        }
        Ok(())
    });
}

#[test]
fn an_outage_breaks_kept_connections_and_is_survived() {
    run(|lab: Lab| async move {
        let stage = lab
            .namespace("broken")
            .await?
            .stage(PostgresOptions::default())
            .await?;
        let options = ConsumerOptions {
            query_every: Duration::from_millis(50),
            ..ConsumerOptions::of(&stage.postgres)
        };
        let app = stage
            .namespace
            .consumer(options.replicas(1).rereading().source(Source::Volume))
            .await?;
        stage.postgres.restart(Stop::Immediate).await?;
        app.wait_until_ready().await?;
        let tally = app.tally()?;
        assert!(
            tally.failures.iter().any(|failure| failure.doing == Doing::Query),
            "{tally:?}"
        );
        let b = &stage.pair.b;
        stage
            .namespace
            .secret(
                "db-credentials",
                &[("username", &b.user), ("password", &b.password)],
            )
            .await?;
        let changed = eventually(
            "the new user without a restart",
            Duration::from_secs(10),
            async || Ok(app.tally()?.attempts_as.contains_key("app_b").then_some(())),
        );
        changed.await
    });
}

#[test]
fn a_host_program_runs_in_a_pod() {
    run(|lab: Lab| async move {
        let namespace = lab.namespace("tool").await?;
        let psql = ["/bin/sh", "-c", "/usr/bin/id && exec /usr/bin/sleep 1000"];
        namespace.pod("tool", &psql, &[]).await?;
        let said: Result<String> = lab.kubectl(&["logs", "--namespace", namespace.name(), "tool"]);
        assert!(said?.contains("uid=0(root)"));
        Ok(())
    });
}
