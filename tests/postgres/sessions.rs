//! Who is still connected.

use std::time::Duration;

use tandem::effects::postgres::{sessions, terminate};
use tandem::effects::{Error, Outcome};
use tandem::machine::facts::{Laggard, Refused};
use tandem_lab::{PostgresOptions, eventually, run};

use crate::scene::{AMPLE, Scene, command, credential, on_every_version, role};

#[test]
fn fm39_fm41_sessions_are_counted_by_user_even_where_everything_else_is_hidden() {
    run(|lab| async move {
        on_every_version(&lab, PostgresOptions::default(), async |scene, version| {
            let (postgres, a, b) = (&scene.stage.postgres, &scene.stage.pair.a, &scene.stage.pair.b);
            let count = async || sessions(&scene.server, &scene.admin, &scene.a.user).await;
            assert_eq!(count().await, Ok(vec![]), "{version}");
            let other = postgres.connect_as(&b.user, &b.password, "appdb").await?;
            assert_eq!(count().await, Ok(vec![]), "{version}: of the other user");

            let first = postgres.connect_as(&a.user, &a.password, "appdb").await?;
            let second = postgres.connect_as(&a.user, &a.password, "postgres").await?;
            first
                .batch_execute("SET application_name = 'orders'; SET ROLE NONE")
                .await?;
            second
                .batch_execute("SET application_name = 'billing'; BEGIN")
                .await?;
            let third = postgres.connect_as(&a.user, &a.password, "appdb").await?;
            third.batch_execute("SET application_name = 'orders'").await?;
            let laggards = count().await.unwrap();
            let seen: Vec<_> = laggards
                .iter()
                .map(|l| (l.application_name.as_str(), l.count, l.pod.as_str()))
                .collect();
            assert_eq!(seen, [("orders", 2, ""), ("billing", 1, "")], "{version}");
            assert!(
                laggards
                    .iter()
                    .all(|l| l.client_address.parse::<std::net::IpAddr>().is_ok()),
                "{laggards:?}"
            );

            // R7: most columns are empty now, and who counts by them counts nobody.
            scene.sql("REVOKE pg_read_all_stats FROM rotator").await?;
            let hidden = count().await.unwrap();
            assert_eq!(
                hidden.iter().map(|l| l.count).sum::<u32>(),
                3,
                "{version}: {hidden:?}"
            );
            scene.sql("GRANT pg_read_all_stats TO rotator").await?;

            // The one of the shared role can be ended by the other user, too, and holds nobody up.
            third
                .batch_execute("BEGIN; SELECT 1; PREPARE TRANSACTION 'shared'")
                .await?;
            third.batch_execute("SET ROLE NONE").await?;
            third
                .batch_execute("BEGIN; SELECT 1; PREPARE TRANSACTION 'order ''66'")
                .await?;
            drop((first, second, third));
            let prepared = Laggard {
                application_name: "prepared transaction order '66".into(),
                client_address: String::new(),
                pod: String::new(),
                endpoint: None,
                count: 1,
            };
            let only = eventually(
                "only the prepared transaction",
                Duration::from_secs(10),
                async || {
                    let laggards = count().await.unwrap();
                    Ok((laggards.len() == 1).then_some(laggards))
                },
            );
            assert_eq!(only.await?, [prepared], "{version}");
            other.batch_execute("ROLLBACK PREPARED 'shared'").await?;

            // A name that means nobody, or no longer the same, is never drained.
            let nobody = sessions(&scene.server, &scene.admin, &role("nobody")).await;
            assert_eq!(nobody.unwrap_err().reason, "NoSuchRole", "{version}");
            Ok(())
        })
        .await
    });
}

#[test]
fn sessions_that_cannot_be_counted_are_never_none() {
    run(|lab| async move {
        let scene = Scene::new(&lab, PostgresOptions::default()).await?;
        let locked_out = credential("rotator", "wrong");
        let reason = sessions(&scene.server, &locked_out, &scene.a.user)
            .await
            .unwrap_err()
            .reason;
        assert_eq!(reason, "WrongPassword");
        let replica = scene.stage.postgres.replica("db-ro").await?;
        let standby = crate::scene::server(&replica.host(), 5432, "appdb", Some(lab.ca_pem())).unwrap();
        let reason = sessions(&standby, &scene.admin, &scene.a.user)
            .await
            .unwrap_err()
            .reason;
        assert_eq!(reason, "NotThePrimary");
        Ok(())
    });
}

#[test]
fn fm39_sessions_are_ended_only_with_the_right_and_in_time() {
    run(|lab| async move {
        on_every_version(&lab, PostgresOptions::default(), async |scene, version| {
            let (postgres, a, b) = (&scene.stage.postgres, &scene.stage.pair.a, &scene.stage.pair.b);
            let old = postgres.connect_as(&a.user, &a.password, "appdb").await?;
            let other = postgres.connect_as(&b.user, &b.password, "appdb").await?;
            let end =
                async |time_left| terminate(&scene.server, &scene.admin, &scene.a.user, time_left).await;
            assert!(
                matches!(end(Duration::ZERO).await, Err(Error::Fenced)),
                "{version}"
            );
            if version >= 16 {
                // Before, the right to create roles brought this one with it.
                let outcome = end(AMPLE).await;
                let Ok(Outcome::Refused(Refused::Otherwise(finding))) = outcome else {
                    panic!("{version}: {outcome:?}")
                };
                assert_eq!(finding.reason, "AdminLacksRights");
                old.batch_execute("SELECT 1").await?;
                scene.sql(command(&finding)).await?;
            } else {
                scene.sql("GRANT pg_signal_backend TO rotator").await?;
            }
            assert_eq!(end(AMPLE).await.unwrap(), Outcome::Done, "{version}");
            eventually(
                "no session of the old user",
                Duration::from_secs(10),
                async || {
                    Ok(sessions(&scene.server, &scene.admin, &scene.a.user)
                        .await
                        .unwrap()
                        .is_empty()
                        .then_some(()))
                },
            )
            .await?;
            assert!(old.batch_execute("SELECT 1").await.is_err(), "{version}");
            other.batch_execute("SELECT 1").await?;
            assert_eq!(
                end(AMPLE).await.unwrap(),
                Outcome::Done,
                "{version}: again, with nobody left"
            );
            Ok(())
        })
        .await
    });
}
