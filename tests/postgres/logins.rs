//! Logins, and why they are refused.

use std::time::{Duration, Instant};

use tandem::effects::postgres::{login, preflight, previous};
use tandem::machine::facts::{Login, Previous};
use tandem_lab::{PostgresOptions, Stop, run};
use tokio::net::TcpListener;

use crate::scene::{SMOKE, Scene, on_every_version, reason, server};

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
