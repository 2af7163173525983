//! PostgreSQL servers in the lab.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tandem_lab::{Lab, PostgresOptions, Stop, eventually, run};
use tokio_postgres::error::SqlState;

fn sql_state(error: &anyhow::Error) -> Option<SqlState> {
    error
        .chain()
        .find_map(|cause| cause.downcast_ref::<tokio_postgres::Error>()?.code().cloned())
}

#[test]
fn a_stage_has_users_who_log_in_and_become_the_owner() {
    run(|lab: Lab| async move {
        let stage = lab
            .namespace("stage")
            .await?
            .stage(PostgresOptions::default())
            .await?;
        for login in [&stage.pair.a, &stage.pair.b] {
            let client = stage
                .postgres
                .connect_as(&login.user, &login.password, &stage.pair.database)
                .await?;
            let row = client
                .query_one("SELECT current_user::text, session_user::text", &[])
                .await?;
            assert_eq!((row.get(0), row.get(1)), ("app_owner", login.user.as_str()));
            client
                .batch_execute("INSERT INTO orders (note) VALUES ('one')")
                .await?;
        }
        let secret = stage.namespace.read_secret("db-credentials").await?;
        assert_eq!(secret["password"], stage.pair.a.password);
        let refused = stage
            .postgres
            .connect_as("app_a", "wrong", "appdb")
            .await
            .err()
            .context("was accepted")?;
        assert_eq!(sql_state(&refused), Some(SqlState::INVALID_PASSWORD));
        assert!(
            stage
                .postgres
                .server_log()?
                .contains("password authentication failed")
        );
        Ok(())
    });
}

#[test]
fn the_administrator_can_change_the_pair_and_nobody_else() {
    run(|lab: Lab| async move {
        let stage = lab
            .namespace("admin")
            .await?
            .stage(PostgresOptions::default().sql("CREATE ROLE boss SUPERUSER"))
            .await?;
        let admin = &stage.pair.admin;
        let client = stage
            .postgres
            .connect_as(&admin.user, &admin.password, "appdb")
            .await?;
        client
            .batch_execute("ALTER ROLE app_b PASSWORD 'another'")
            .await?;
        stage.postgres.connect_as("app_b", "another", "appdb").await?;
        let refused = client
            .batch_execute("ALTER ROLE boss PASSWORD 'x'")
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
        Ok(())
    });
}

#[test]
fn a_stopped_server_refuses_and_a_started_one_has_kept_its_data() {
    run(|lab: Lab| async move {
        let stage = lab
            .namespace("outage")
            .await?
            .stage(PostgresOptions::default())
            .await?;
        let (server, a) = (&stage.postgres, &stage.pair.a);
        server
            .sql("appdb", "INSERT INTO orders (note) VALUES ('kept')")
            .await?;
        for how in [Stop::Fast, Stop::Immediate] {
            server.stop(how).await?;
            assert!(server.connect_as(&a.user, &a.password, "appdb").await.is_err());
            server.start().await?;
            assert_eq!(
                server.value("appdb", "SELECT note FROM orders").await?.as_deref(),
                Some("kept")
            );
        }
        Ok(())
    });
}

#[test]
fn a_replica_of_every_version_follows_late_or_not_at_all_and_takes_the_primary_s_place() {
    run(|lab: Lab| async move {
        let each = [14, 15, 16, 17, 18].map(|version| follow(lab.clone(), version));
        futures::future::try_join_all(each).await.map(drop)
    });
}

async fn follow(lab: Lab, version: u32) -> Result<()> {
    let stage = lab
        .namespace("replica")
        .await?
        .stage(PostgresOptions::default().version(version))
        .await?;
    let (primary, seconds) = (&stage.postgres, Duration::from_secs);
    let replica = primary.replica("db-ro").await?;
    let note = async |text: &str| {
        let insert = format!("INSERT INTO orders (note) VALUES ('{text}')");
        primary.sql("appdb", &insert).await
    };
    let notes = async || {
        replica
            .value("appdb", "SELECT string_agg(note, ' ' ORDER BY id) FROM orders")
            .await
    };
    let arrived = async |expected: &str| {
        eventually(format!("{expected} on {version}"), seconds(15), async || {
            Ok((notes().await?.as_deref() == Some(expected)).then_some(()))
        })
        .await
    };
    note("one").await?;
    arrived("one").await?;

    replica.delay(Duration::from_hours(1)).await?;
    note("two").await?;
    tokio::time::sleep(seconds(1)).await;
    assert_eq!(notes().await?.as_deref(), Some("one"), "{version}: it is late");
    replica.delay(Duration::ZERO).await?;
    arrived("one two").await?;

    replica.pause_replay().await?;
    note("three").await?;
    tokio::time::sleep(seconds(1)).await;
    assert_eq!(
        notes().await?.as_deref(),
        Some("one two"),
        "{version}: it is paused"
    );
    replica.resume_replay().await?;
    arrived("one two three").await?;

    replica.cut_off().await?;
    note("lost").await?;
    replica.promote().await?;
    assert_eq!(notes().await?.as_deref(), Some("one two three"), "{version}");
    // The way back: a fresh copy of who leads now.
    let fresh = replica.replica("db-new").await?;
    replica
        .sql("appdb", "INSERT INTO orders (note) VALUES ('four')")
        .await?;
    eventually("the new one to follow", seconds(15), async || {
        let newest = "SELECT note FROM orders ORDER BY id DESC LIMIT 1";
        Ok((fresh.value("appdb", newest).await?.as_deref() == Some("four")).then_some(()))
    })
    .await
}

#[test]
fn one_name_leads_to_several_servers_and_then_to_others() {
    run(|lab: Lab| async move {
        let namespace = lab.namespace("names").await?;
        let primary = namespace.postgres(PostgresOptions::default()).await?;
        let replica = primary.replica("db-ro").await?;
        let name = format!("db-any.{}.svc.cluster.local", namespace.name());
        let addresses = async |count| {
            eventually("the name's addresses", Duration::from_secs(15), async || {
                let found: Vec<_> = tokio::net::lookup_host((name.as_str(), 5432)).await?.collect();
                Ok((found.len() == count).then_some(found))
            })
            .await
        };
        namespace.name_servers("db-any", &[&primary, &replica]).await?;
        let both = addresses(2).await?;
        namespace.name_servers("db-any", &[&replica]).await?;
        let one = addresses(1).await?;
        assert!(both.contains(&one[0]), "{both:?} {one:?}");
        Ok(())
    });
}

#[test]
fn a_server_can_be_told_whom_to_let_in() {
    run(|lab: Lab| async move {
        let stage = lab
            .namespace("hba")
            .await?
            .stage(PostgresOptions::default())
            .await?;
        let (server, a) = (&stage.postgres, &stage.pair.a);
        server
            .set_hba("host all app_a all reject\nhostssl all all all scram-sha-256")
            .await?;
        let refused: Result<_> = server.connect_as(&a.user, &a.password, "appdb").await;
        assert_eq!(
            sql_state(&refused.err().context("was let in")?),
            Some(SqlState::INVALID_AUTHORIZATION_SPECIFICATION)
        );
        Ok(())
    });
}

#[test]
fn all_versions_run_and_their_administrators_can_change_the_pair() {
    run(|lab: Lab| async move {
        for version in [14, 16, 17, 18] {
            let namespace = lab.namespace("version").await?;
            let stage = namespace
                .stage(PostgresOptions::default().version(version))
                .await?;
            let number = stage
                .postgres
                .value("postgres", "SHOW server_version_num")
                .await?
                .context("no version")?;
            assert_eq!(number.parse::<u32>()? / 10_000, version);
            let admin = &stage.pair.admin;
            let client = stage
                .postgres
                .connect_as(&admin.user, &admin.password, "appdb")
                .await?;
            client
                .batch_execute("ALTER ROLE app_b PASSWORD 'another'")
                .await?;
            stage.postgres.connect_as("app_b", "another", "appdb").await?;
        }
        Ok(())
    });
}
