//! Between two rotations: what tells whether a server still lets in whom it did.

use anyhow::Result;
use tandem::effects::postgres::{active, previous, why_refused};
use tandem::machine::facts::{Login, Previous};
use tandem_lab::{PostgresOptions, run};

use crate::scene::{Scene, credential, on_every_version, reason, server};

#[test]
fn fm23_a_check_tells_what_is_refused_and_on_which_server() {
    run(|lab| async move {
        on_every_version(&lab, PostgresOptions::default(), async |scene, version| {
            let Login::Accepted(here) = active(&scene.server, &scene.a).await else {
                panic!("{version}: the credential logs in");
            };
            let other = credential("app_a", "somebody else's");
            assert_eq!(
                active(&scene.server, &other).await,
                Login::WrongPassword,
                "{version}"
            );
            let why = why_refused(&scene.server, &scene.a.user, &scene.admin).await;
            assert_eq!(why, (Login::WrongPassword, Some(here.clone())), "{version}");
            assert_eq!(
                previous(&scene.server, &other).await,
                Previous::Refused,
                "{version}"
            );

            // What the server says of a wrong password it says of these too.
            scene.sql("ALTER ROLE app_a VALID UNTIL '2020-01-01'").await?;
            assert_eq!(active(&scene.server, &scene.a).await, Login::WrongPassword);
            let (login, identity) = why_refused(&scene.server, &scene.a.user, &scene.admin).await;
            assert_eq!(
                (reason(&login), identity),
                ("PasswordExpired", Some(here)),
                "{version}"
            );
            // And of these only to somebody who knows the password.
            scene
                .sql("ALTER ROLE app_a VALID UNTIL 'infinity' NOLOGIN")
                .await?;
            assert_eq!(
                reason(&active(&scene.server, &scene.a).await),
                "NoLogin",
                "{version}"
            );
            assert_eq!(
                previous(&scene.server, &scene.a).await,
                Previous::Accepted,
                "{version}"
            );
            Ok(())
        })
        .await
    });
}

/// A standby may lag, and says nothing of the primary; nor does a server that is down.
#[test]
fn fm21_a_standby_and_a_server_that_is_gone_say_nothing_of_a_password() {
    run(|lab| async move {
        let scene = Scene::new(&lab, PostgresOptions::default()).await?;
        let standby = scene.stage.postgres.replica("db-ro").await?;
        let at = |host: &str| server(host, 5432, "appdb", Some(lab.ca_pem())).unwrap();
        let there = at(&standby.host());
        assert_eq!(reason(&active(&there, &scene.a).await), "NotThePrimary");
        let (login, identity) = why_refused(&there, &scene.a.user, &scene.admin).await;
        assert_eq!((reason(&login), identity), ("NotThePrimary", None));
        let nowhere = at("db-nowhere");
        assert_eq!(reason(&active(&nowhere, &scene.a).await), "HostNotFound");
        let (login, identity) = why_refused(&nowhere, &scene.a.user, &scene.admin).await;
        assert_eq!((reason(&login), identity), ("HostNotFound", None));
        Ok(())
    });
}

/// What an idle policy costs the server: two connections for each check, and no others.
#[test]
fn a_check_in_which_all_is_well_opens_two_connections() {
    run(|lab| async move {
        let options = PostgresOptions::default().setting("log_connections", "on");
        let scene = Scene::new(&lab, options).await?;
        let connections = || -> Result<usize> {
            let log = scene.stage.postgres.server_log()?;
            Ok(log.matches("connection received").count())
        };
        let before = connections()?;
        let last = credential("app_b", "a password that was retired");
        assert!(matches!(
            active(&scene.server, &scene.a).await,
            Login::Accepted(_)
        ));
        assert_eq!(previous(&scene.server, &last).await, Previous::Refused);
        assert_eq!(connections()? - before, 2);
        Ok(())
    });
}
