//! Logins, and why they are refused.

use std::time::{Duration, Instant};

use anyhow::Result;
use tandem::effects::postgres::{login, preflight, previous};
use tandem::machine::facts::{Login, Previous};
use tandem_lab::{PostgresOptions, Stop, run};
use tokio::net::TcpListener;

use crate::scene::{SMOKE, Scene, credential, on_every_version, reason, server};

#[test]
fn fm16_every_refusal_has_its_own_reason_and_its_own_verdict_on_the_password() {
    run(|lab| async move {
        // Few connections, so that a test can take them all.
        let options = PostgresOptions::default()
            .setting("max_connections", "14")
            .setting("superuser_reserved_connections", "3");
        on_every_version(&lab, options, async |scene, version| {
            let b = &scene.b;
            assert!(matches!(scene.login(b).await, Login::Accepted(_)), "{version}");
            assert_eq!(previous(&scene.server, b).await, Previous::Accepted);

            let wrong = credential("app_b", "wrong");
            assert_eq!(scene.login(&wrong).await, Login::WrongPassword);
            assert_eq!(previous(&scene.server, &wrong).await, Previous::Refused);
            let nobody = credential("nobody", "wrong");
            assert_eq!(reason(&scene.login(&nobody).await), "NoSuchRole");
            // Without an administrator nobody can tell the two apart.
            let alone = login(&scene.server, &nobody, None, None, None).await;
            assert_eq!(alone, Login::WrongPassword);

            // What is done to the role or its database, what a login says then, whether the password was proven right,
            // and how it is undone.
            let cases = [
                (
                    "ALTER ROLE app_b NOLOGIN",
                    "NoLogin",
                    true,
                    "ALTER ROLE app_b LOGIN",
                ),
                (
                    "ALTER ROLE app_b CONNECTION LIMIT 0",
                    "RoleConnectionLimit",
                    true,
                    "ALTER ROLE app_b CONNECTION LIMIT -1",
                ),
                (
                    "ALTER DATABASE appdb CONNECTION LIMIT 0",
                    "DatabaseConnectionLimit",
                    true,
                    "ALTER DATABASE appdb CONNECTION LIMIT -1",
                ),
                (
                    "REVOKE CONNECT ON DATABASE appdb FROM PUBLIC; REVOKE app_owner FROM app_b",
                    "NoConnectPrivilege",
                    true,
                    "GRANT CONNECT ON DATABASE appdb TO PUBLIC; GRANT app_owner TO app_b",
                ),
                (
                    "ALTER DATABASE appdb ALLOW_CONNECTIONS false",
                    "DatabaseClosed",
                    true,
                    "ALTER DATABASE appdb ALLOW_CONNECTIONS true",
                ),
                (
                    "ALTER ROLE app_b VALID UNTIL '2020-01-01'",
                    "PasswordExpired",
                    false,
                    "ALTER ROLE app_b VALID UNTIL 'infinity'",
                ),
            ];
            for (harm, expected, right, mend) in cases {
                scene.stage.postgres.sql("postgres", harm).await?;
                assert_eq!(reason(&scene.login(b).await), expected, "{version}: {harm}");
                let last = previous(&scene.server, b).await;
                assert_eq!(last == Previous::Accepted, right, "{version}: {harm}: {last:?}");
                scene.stage.postgres.sql("postgres", mend).await?;
            }
            let missing = scene.database("no such database");
            let gone = login(&missing, b, None, None, None).await;
            assert_eq!(reason(&gone), "DatabaseMissing", "{version}");

            scene
                .stage
                .postgres
                .set_hba("hostssl all app_b all reject\nhostssl all all all scram-sha-256")
                .await?;
            assert_eq!(reason(&scene.login(b).await), "HbaRejected", "{version}");
            let last = previous(&scene.server, b).await;
            assert!(
                matches!(last, Previous::Unreachable(_)),
                "{version}: a reject says nothing: {last:?}"
            );
            scene
                .stage
                .postgres
                .set_hba("hostssl all all all scram-sha-256")
                .await?;

            crowd(&scene, version).await?;
            assert!(
                matches!(scene.login(b).await, Login::Accepted(_)),
                "{version}: all was undone"
            );
            Ok(())
        })
        .await
    });
}

/// Takes first the ordinary connections and then the last ones.
async fn crowd(scene: &Scene, version: u32) -> Result<()> {
    let (postgres, a) = (&scene.stage.postgres, &scene.stage.pair.a);
    let mut crowd = Vec::new();
    while let Ok(client) = postgres.connect_as(&a.user, &a.password, "appdb").await {
        crowd.push(client);
    }
    assert!(crowd.len() >= 5, "{version}: {} came in", crowd.len());
    let full = login(&scene.server, &scene.b, None, None, None).await;
    assert_eq!(reason(&full), "TooManyConnections", "{version}");
    // Checked after the password: it has been proven right.
    assert_eq!(
        previous(&scene.server, &scene.b).await,
        Previous::Accepted,
        "{version}"
    );

    let root = postgres.superuser();
    while let Ok(client) = postgres.connect_as(&root.user, &root.password, "appdb").await {
        crowd.push(client);
    }
    let full = login(&scene.server, &scene.b, None, None, None).await;
    assert_eq!(reason(&full), "TooManyConnections", "{version}");
    let last = previous(&scene.server, &scene.b).await;
    assert!(
        matches!(last, Previous::Unreachable(_)),
        "{version}: nobody looked at the password: {last:?}"
    );

    drop(crowd);
    tandem_lab::eventually("room", Duration::from_secs(10), async || {
        let rows = postgres
            .sql(
                "postgres",
                "SELECT 1 FROM pg_stat_activity WHERE usename = 'app_a'",
            )
            .await?;
        Ok(rows.is_empty().then_some(()))
    })
    .await
}

#[test]
fn fm15_a_server_that_cannot_be_reached_says_nothing_about_a_password() {
    run(|lab| async move {
        let scene = Scene::new(&lab, PostgresOptions::default()).await?;
        let unreachable = async |server: &tandem::effects::postgres::Server| {
            let (findings, identity) = preflight(server, &scene.admin, scene.wanted()).await;
            assert_eq!(identity, None);
            let [finding] = &findings[..] else {
                panic!("one cause, one finding: {findings:#?}")
            };
            let pending = login(server, &scene.b, None, None, Some(&scene.admin)).await;
            assert_eq!(reason(&pending), finding.reason);
            match previous(server, &scene.b).await {
                Previous::Unreachable(last) => assert_eq!(last.reason, finding.reason),
                other => panic!("{other:?}"),
            }
            finding.reason
        };
        let ca = Some(lab.ca_pem());
        let nowhere = server("nowhere.invalid", 5432, "appdb", ca).unwrap();
        assert_eq!(unreachable(&nowhere).await, "HostNotFound");

        // Accepts connections and never answers, which the driver's own limit does not cover.
        let mute = TcpListener::bind("127.0.0.1:0").await?;
        let mute_server = server("127.0.0.1", mute.local_addr()?.port(), "appdb", ca).unwrap();
        let started = Instant::now();
        let pending = login(&mute_server, &scene.b, None, None, None).await;
        assert_eq!(reason(&pending), "NoAnswer");
        assert!(
            started.elapsed() < Duration::from_secs(15),
            "{:?}",
            started.elapsed()
        );

        scene.stage.postgres.stop(Stop::Fast).await?;
        assert_eq!(unreachable(&scene.server).await, "ConnectionRefused");
        scene.stage.postgres.start().await?;
        assert!(
            matches!(scene.login(&scene.b).await, Login::Accepted(_)),
            "it goes on by itself"
        );
        Ok(())
    });
}

#[test]
fn fm21_a_standby_proves_nothing_and_a_promotion_is_another_life_of_the_same_server() {
    run(|lab| async move {
        let scene = Scene::new(&lab, PostgresOptions::default()).await?;
        let Login::Accepted(first) = scene.login(&scene.b).await else {
            panic!("refused")
        };
        assert_eq!(first.timeline, 1);
        let replica = scene.stage.postgres.replica("db-ro").await?;
        let standby = server(&replica.host(), 5432, "appdb", Some(lab.ca_pem())).unwrap();
        let refused = login(&standby, &scene.b, None, None, None).await;
        assert_eq!(reason(&refused), "NotThePrimary");
        let (findings, identity) = preflight(&standby, &scene.admin, scene.wanted()).await;
        assert!(
            findings
                .iter()
                .any(|finding| finding.blocks && finding.reason == "NotThePrimary")
        );
        assert_eq!(identity, None);

        replica.sql("postgres", "SELECT pg_promote()").await?;
        let Login::Accepted(second) = login(&standby, &scene.b, None, None, None).await else {
            panic!("refused")
        };
        assert_eq!((second.system, second.timeline), (first.system, 2));
        Ok(())
    });
}

#[test]
fn fm20_what_the_application_does_is_tried_and_changes_nothing() {
    run(|lab| async move {
        on_every_version(&lab, PostgresOptions::default(), async |scene, version| {
            let smoke = async |query: &'static str| {
                let outcome = login(&scene.server, &scene.b, Some(&scene.owner), Some(query), None).await;
                match outcome {
                    Login::Refused(finding) => (finding.reason, finding.message),
                    other => (reason(&other), String::new()),
                }
            };
            scene
                .sql("INSERT INTO orders (note) SELECT 'row' FROM generate_series(1, 100)")
                .await?;
            assert_eq!(smoke(SMOKE).await.0, "(accepted)");
            assert_eq!(smoke("SELECT * FROM orders").await.0, "(accepted)");
            for write in [
                "DELETE FROM orders",
                "DELETE FROM orders RETURNING id",
                "SELECT 1; DELETE FROM orders",
                "COMMIT; DELETE FROM orders",
                "TRUNCATE orders",
            ] {
                let (reason, message) = smoke(write).await;
                assert_eq!(reason, "SmokeQueryFailed", "{version}: {write}: {message}");
            }
            let left = scene
                .stage
                .postgres
                .value("appdb", "SELECT count(*) FROM orders")
                .await?;
            assert_eq!(left.as_deref(), Some("100"), "{version}");

            // The membership is gone and the setting stays: the login succeeds, silently as another role (R11).
            scene.sql("REVOKE app_owner FROM app_b").await?;
            let (refused, message) = smoke(SMOKE).await;
            assert_eq!(refused, "EffectiveRoleDiffers", "{version}");
            let (_, mend) = message.rsplit_once("run: ").unwrap();
            let (blockers, _) = scene.reasons().await;
            assert_eq!(blockers, ["PairDiffers"], "{version}");
            scene.sql(mend).await?;
            assert_eq!(smoke(SMOKE).await.0, "(accepted)", "{version}: {mend}");
            let (blockers, _) = scene.reasons().await;
            assert_eq!(blockers, Vec::<&str>::new(), "{version}");

            scene.sql("REVOKE ALL ON orders FROM app_owner").await?;
            let (refused, message) = smoke(SMOKE).await;
            assert_eq!(refused, "SmokeQueryFailed", "{version}");
            assert!(
                message.contains("42501") && message.contains("orders"),
                "{message}"
            );
            let (blockers, _) = scene.reasons().await;
            assert_eq!(
                blockers,
                ["SmokeQueryFailed"],
                "{version}: the active user cannot do it either"
            );
            Ok(())
        })
        .await
    });
}
