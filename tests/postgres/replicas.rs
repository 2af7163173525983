//! Replicas: proven one by one, waited for by their place in the log, and counted too.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tandem::api::endpoint::EndpointRole;
use tandem::effects::Outcome;
use tandem::effects::postgres::{
    Server, Source, Verifier, behind_name, change, replica, replica_findings, sessions, source, terminate,
    unnamed_standbys,
};
use tandem::machine::endpoints::{Door, Lag};
use tandem::machine::facts::Finding;
use tandem::policy::{Endpoint, Tls};
use tandem_lab::{Postgres, PostgresOptions, eventually, run};

use crate::scene::{AMPLE, SMOKE, Scene, change_of, command, described, on_every_version, trust};

const SOON: Duration = Duration::from_secs(15);

/// The endpoint `reader` at this host.
fn reader(scene: &Scene, host: &str) -> Server {
    let endpoint = Endpoint {
        name: "reader".into(),
        role: EndpointRole::Replica,
        host: host.into(),
        port: 5432,
        tls: Tls::VerifyFull(trust()),
        console: None,
        userlist: None,
    };
    let ca = scene.lab.ca_pem().as_bytes();
    Server::endpoint(&described("db", 5432, "appdb", true), &endpoint, Some(ca), None).unwrap()
}

impl Scene {
    async fn source(&self) -> Source {
        source(&self.server, &self.admin).await.unwrap()
    }

    /// Tries the standby's credential at every address, and answers in their order.
    async fn doors(&self, reader: &Server) -> Result<Vec<Door>> {
        let source = self.source().await;
        let servers = behind_name(reader, &self.admin.user).await;
        let mut doors = Vec::new();
        for server in servers.map_err(|finding| anyhow::anyhow!(finding.message))? {
            let (role, query) = (Some(&self.owner), Some(SMOKE));
            doors.push(replica(&server, &self.b, role, query, &self.admin, &source).await);
        }
        Ok(doors)
    }

    /// Sets the standby's password to the one that it is tried with.
    async fn alter(&mut self, password: &str) -> Result<()> {
        self.b = crate::scene::credential("app_b", password);
        let verifier = Verifier::compute(&self.b.password);
        let outcome = change(&self.server, &self.admin, change_of(&self.b.user, &verifier)).await?;
        assert_eq!(outcome, Outcome::Done);
        Ok(())
    }

    async fn findings(&self, reader: &Server) -> Vec<Finding> {
        let source = self.source().await;
        match behind_name(reader, &self.admin.user).await {
            Err(finding) => vec![finding],
            Ok(servers) => {
                let mut findings = Vec::new();
                for server in servers {
                    findings.extend(replica_findings(&server, &self.admin, self.wanted(), &source).await);
                }
                findings
            }
        }
    }
}

fn lag(door: &Door) -> &Lag {
    match door {
        Door::Behind(lags) => &lags[0],
        other => panic!("{other:?}"),
    }
}

async fn followed(primary: &Postgres, replica: &Postgres) -> Result<()> {
    let end = primary
        .value("postgres", "SELECT pg_current_wal_insert_lsn()")
        .await?;
    let end = end.context("no position")?;
    let reached = format!("SELECT pg_last_wal_replay_lsn() >= '{end}'");
    eventually("the replica to follow", SOON, async || {
        Ok((replica.value("postgres", &reached).await?.as_deref() == Some("t")).then_some(()))
    })
    .await
}

#[test]
fn fm22_a_replica_that_is_late_is_waited_for_with_its_numbers_and_opens_when_it_has_replayed() {
    run(|lab| async move {
        on_every_version(&lab, PostgresOptions::default(), async |mut scene, version| {
            let late = scene.stage.postgres.replica("db-ro").await?;
            let reader = reader(&scene, &late.host());
            followed(&scene.stage.postgres, &late).await?;
            assert_eq!(scene.findings(&reader).await, [], "{version}");
            assert_eq!(scene.doors(&reader).await?, [Door::Open], "{version}");

            late.pause_replay().await?;
            scene.alter("a second password of the standby").await?;
            let doors = scene.doors(&reader).await?;
            let seen = lag(&doors[0]);
            assert_eq!(seen.endpoint, "reader");
            assert!(seen.at.contains(&late.host()), "{seen:?}");
            assert!(seen.bytes.is_some_and(|bytes| bytes > 0), "{version}: {seen:?}");
            assert!(seen.replayed.is_some(), "{version}: {seen:?}");
            let cause = seen.cause.as_deref().unwrap_or_default();
            assert!(cause.contains("paused"), "{version}: {seen:?}");
            // What the message says mends it.
            let (_, mends) = cause.rsplit_once("run: ").context("no command")?;
            late.sql("postgres", mends).await?;
            eventually("the replica to open", SOON, async || {
                Ok((scene.doors(&reader).await? == [Door::Open]).then_some(()))
            })
            .await?;

            late.delay(Duration::from_hours(1)).await?;
            scene.alter("a third password of the standby").await?;
            let doors = scene.doors(&reader).await?;
            let cause = lag(&doors[0]).cause.as_deref().unwrap_or_default();
            assert!(
                cause.contains("recovery_min_apply_delay is 1h"),
                "{version}: {cause}"
            );
            late.delay(Duration::ZERO).await?;
            eventually("the replica to open again", SOON, async || {
                Ok((scene.doors(&reader).await? == [Door::Open]).then_some(()))
            })
            .await?;

            late.cut_off().await?;
            scene.alter("a fourth password of the standby").await?;
            let doors = scene.doors(&reader).await?;
            let cause = lag(&doors[0]).cause.as_deref().unwrap_or_default();
            assert!(cause.contains("receives nothing"), "{version}: {cause}");
            Ok(())
        })
        .await
    });
}

#[test]
fn fm22_every_address_of_one_name_is_tried_and_one_that_is_late_is_enough() {
    run(|lab| async move {
        let stage_options = PostgresOptions::default();
        let namespace = lab.namespace("addresses").await?;
        let any = format!("db-any.{}.svc.cluster.local", namespace.name());
        let options = PostgresOptions {
            hosts: vec![any.clone()],
            ..stage_options
        };
        let mut scene = Scene::of(&lab, namespace.stage(options).await?)?;
        let namespace = &scene.stage.namespace.clone();
        let near = scene.stage.postgres.replica("db-near").await?;
        let far = scene.stage.postgres.replica("db-far").await?;
        let reader = reader(&scene, &any);
        let nowhere = scene.findings(&reader).await;
        assert_eq!(nowhere[0].reason, "HostNotFound");
        assert!(
            nowhere[0]
                .message
                .contains("spec.database.endpoints[reader].host"),
            "{}",
            nowhere[0].message
        );

        namespace.name_servers("db-any", &[&near, &far]).await?;
        eventually("both addresses", SOON, async || {
            Ok(
                (scene.findings(&reader).await.is_empty() && scene.doors(&reader).await?.len() == 2)
                    .then_some(()),
            )
        })
        .await?;
        far.pause_replay().await?;
        scene.alter("a second password of the standby").await?;
        eventually("the one that follows to open", SOON, async || {
            let mut doors = scene.doors(&reader).await?;
            doors.sort_by_key(|door| *door != Door::Open);
            Ok((doors[0] == Door::Open && matches!(doors[1], Door::Behind(_))).then_some(()))
        })
        .await?;
        far.resume_replay().await?;
        eventually("both to open", SOON, async || {
            Ok((scene.doors(&reader).await? == [Door::Open, Door::Open]).then_some(()))
        })
        .await
    });
}

#[test]
fn what_is_no_replica_of_this_cluster_is_refused_with_the_field_that_leads_there() {
    run(|lab| async move {
        let scene = Scene::new(&lab, PostgresOptions::default()).await?;
        let stranger = Scene::new(&lab, PostgresOptions::default()).await?;
        let strange_replica = stranger.stage.postgres.replica("db-ro").await?;
        let replica = scene.stage.postgres.replica("db-ro").await?;
        let refused = async |host: &str, reason: &str| {
            let findings = scene.findings(&reader(&scene, host)).await;
            let found: Vec<_> = findings.iter().map(|finding| finding.reason).collect();
            assert_eq!(found, [reason], "{findings:#?}");
            assert!(findings[0].blocks && findings[0].message.contains("spec.database.endpoints[reader]"));
        };
        refused("nobody.example.com", "HostNotFound").await;
        refused(&scene.stage.postgres.host(), "EndpointNotAReplica").await;
        // The administrator of the one is nobody to the other.
        refused(&strange_replica.host(), "WrongPassword").await;
        let same = format!(
            "ALTER ROLE rotator PASSWORD '{}'",
            scene.stage.pair.admin.password
        );
        stranger.sql(&same).await?;
        followed(&stranger.stage.postgres, &strange_replica).await?;
        refused(&strange_replica.host(), "EndpointOfOtherCluster").await;

        let reader = reader(&scene, &replica.host());
        followed(&scene.stage.postgres, &replica).await?;
        assert_eq!(scene.findings(&reader).await, []);
        replica
            .set_hba("host all app_a all reject\nhostssl all all all scram-sha-256")
            .await?;
        let findings = scene.findings(&reader).await;
        assert_eq!(findings[0].reason, "EndpointLoginFailed");
        assert!(findings[0].message.contains("pg_hba"), "{}", findings[0].message);
        replica.promote().await?;
        assert_eq!(scene.findings(&reader).await[0].reason, "EndpointNotAReplica");
        Ok(())
    });
}

#[test]
fn fm21_a_standby_that_no_endpoint_names_is_warned_of_and_a_subscriber_is_none() {
    run(|lab| async move {
        let options = PostgresOptions::default().setting("wal_level", "logical");
        let scene = Scene::new(&lab, options).await?;
        let (primary, admin) = (&scene.server, &scene.admin);
        assert_eq!(unnamed_standbys(primary, admin, &[]).await, None);
        let postgres = &scene.stage.postgres;
        let near = postgres.replica("db-near").await?;
        let far = postgres.replica("db-far").await?;
        // What they replay is known to the primary when they have told it.
        let told = eventually("both to stream", SOON, async || {
            let told = unnamed_standbys(primary, admin, &[]).await;
            Ok(told.filter(|finding| finding.message.contains("more standbys (2)")))
        });
        let finding = told.await?;
        assert_eq!((finding.reason, finding.blocks), ("StandbyNotNamed", false));
        let (told, query) = finding.message.rsplit_once("see which they are: ").unwrap();
        for (standby, row) in [(&near, "\"db-near\" at "), (&far, "\"db-far\" at ")] {
            assert!(told.contains(row), "{}: {told}", standby.name());
        }
        let rows = postgres.sql("postgres", query).await?;
        assert_eq!(rows.len(), 2, "{query}");

        let readers = [reader(&scene, &near.host()), reader(&scene, &far.host())];
        let mut named = Vec::new();
        for reader in &readers {
            named.extend(behind_name(reader, &admin.user).await.unwrap());
        }
        let named: Vec<_> = named.iter().collect();
        assert_eq!(unnamed_standbys(primary, admin, &named).await, None);
        let one = unnamed_standbys(primary, admin, &named[..1]).await;
        assert!(
            one.as_ref()
                .is_some_and(|one| one.message.contains("lead to (1)")),
            "{one:?}"
        );

        // A subscriber gets the log as well, and can never take over.
        scene.sql("CREATE PUBLICATION all_of_it FOR ALL TABLES").await?;
        let root = postgres.superuser();
        let from = format!(
            "host={} port=5432 user={} password={} dbname=appdb sslmode=require",
            postgres.address(),
            root.user,
            root.password
        );
        let beside = PostgresOptions::named("db-reports");
        let subscriber = scene.stage.namespace.postgres(beside).await?;
        subscriber
            .sql(
                "postgres",
                "CREATE TABLE orders (id bigserial PRIMARY KEY, note text, placed timestamptz)",
            )
            .await?;
        subscriber
            .sql(
                "postgres",
                &format!("CREATE SUBSCRIPTION s CONNECTION '{from}' PUBLICATION all_of_it"),
            )
            .await?;
        eventually("the subscriber to stream", SOON, async || {
            let streaming = "SELECT 1 FROM pg_stat_replication WHERE application_name = 's' AND state = 'streaming' AND replay_lsn IS NOT NULL";
            Ok((postgres.sql("postgres", streaming).await?.len() == 1).then_some(()))
        })
        .await?;
        assert_eq!(unnamed_standbys(primary, admin, &named).await, None);

        // Who may not see them is told nothing here.
        scene.sql("REVOKE pg_read_all_stats FROM rotator").await?;
        assert_eq!(unnamed_standbys(primary, admin, &[]).await, None);
        Ok(())
    });
}

#[test]
fn fm41_sessions_on_a_replica_are_counted_and_ended_there() {
    run(|lab| async move {
        on_every_version(&lab, PostgresOptions::default(), async |scene, version| {
            let replica = scene.stage.postgres.replica("db-ro").await?;
            followed(&scene.stage.postgres, &replica).await?;
            let reader = reader(&scene, &replica.host());
            let a = &scene.stage.pair.a;
            let old = replica.connect_as(&a.user, &a.password, "appdb").await?;
            old.batch_execute("SET application_name = 'report'").await?;
            let user = &scene.a.user;
            assert_eq!(
                sessions(&scene.server, &scene.admin, user).await,
                Ok(vec![]),
                "{version}"
            );
            let found = sessions(&reader, &scene.admin, user).await.unwrap();
            assert_eq!(found.len(), 1, "{version}: {found:?}");
            let laggard = &found[0];
            assert_eq!(
                (
                    laggard.application_name.as_str(),
                    laggard.endpoint.as_deref(),
                    laggard.count
                ),
                ("report", Some("reader"), 1),
                "{version}"
            );
            // A prepared transaction is the primary's, wherever else it is known.
            let writing = scene
                .stage
                .postgres
                .connect_as(&a.user, &a.password, "appdb")
                .await?;
            writing
                .batch_execute("SET ROLE NONE; BEGIN; SELECT 1; PREPARE TRANSACTION 'left'")
                .await?;
            drop(writing);
            followed(&scene.stage.postgres, &replica).await?;
            assert_eq!(
                sessions(&reader, &scene.admin, user).await.unwrap().len(),
                1,
                "{version}"
            );

            if version >= 16 {
                let refused = terminate(&reader, &scene.admin, user, AMPLE).await?;
                let Outcome::Refused(tandem::machine::facts::Refused::Otherwise(finding)) = refused else {
                    panic!("{version}: {refused:?}")
                };
                scene.sql(command(&finding)).await?;
            } else {
                scene.sql("GRANT pg_signal_backend TO rotator").await?;
            }
            followed(&scene.stage.postgres, &replica).await?;
            assert_eq!(
                terminate(&reader, &scene.admin, user, AMPLE).await?,
                Outcome::Done,
                "{version}"
            );
            eventually("the session to end", SOON, async || {
                Ok(sessions(&reader, &scene.admin, user)
                    .await
                    .unwrap()
                    .is_empty()
                    .then_some(()))
            })
            .await?;
            assert!(old.batch_execute("SELECT 1").await.is_err(), "{version}");
            Ok(())
        })
        .await
    });
}
