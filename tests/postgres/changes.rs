//! Changing a role: what it does, and what it refuses to do.

use tandem::effects::Outcome;
use tandem::effects::postgres::{Change, Means, Verifier, change, login, previous, sessions, terminate};
use tandem::machine::facts::{Identity, Login, Previous, Refused};
use tandem_lab::{PostgresOptions, run};

use crate::scene::{AMPLE, Scene, change_of, credential, on_every_version, reason, refusal, role, server};

#[test]
fn fm02_fm25_the_same_verifier_again_is_the_same_state_whatever_the_server_would_make_itself() {
    run(|lab| async move {
        on_every_version(&lab, PostgresOptions::default(), async |scene, version| {
            let pending = credential("app_b", "N3wPassword");
            let verifier = Verifier::compute(&pending.password);
            for setting in ["md5", "scram-sha-256"] {
                scene
                    .sql(&format!(
                        "ALTER ROLE rotator SET password_encryption = '{setting}'"
                    ))
                    .await?;
                let outcome = change(&scene.server, &scene.admin, change_of(&scene.b.user, &verifier)).await;
                assert_eq!(outcome.unwrap(), Outcome::Done, "{version}");
                assert_eq!(
                    scene.kept(&scene.b.user).await?,
                    verifier.sensitive().expose(),
                    "{version}: {setting}"
                );
                assert!(
                    matches!(scene.login(&pending).await, Login::Accepted(_)),
                    "{version}"
                );
                assert_eq!(
                    previous(&scene.server, &scene.b).await,
                    Previous::Refused,
                    "{version}"
                );
            }
            if version >= 16 {
                scene
                    .sql("ALTER ROLE rotator SET scram_iterations = 20000")
                    .await?;
                let outcome = change(&scene.server, &scene.admin, change_of(&scene.b.user, &verifier)).await;
                assert_eq!(outcome.unwrap(), Outcome::Done);
                assert_eq!(scene.kept(&scene.b.user).await?, verifier.sensitive().expose());
            }
            // Of users whose passwords are older than Tandem, also as MD5, the last one is still told right from wrong.
            scene.stage.postgres.set_hba("hostssl all all all md5").await?;
            scene
                .sql("SET password_encryption = md5; ALTER ROLE app_a PASSWORD 'from long ago'")
                .await?;
            assert!(scene.kept(&scene.a.user).await?.starts_with("md5"));
            let old = credential("app_a", "from long ago");
            assert_eq!(
                previous(&scene.server, &old).await,
                Previous::Accepted,
                "{version}"
            );
            assert_eq!(
                previous(&scene.server, &scene.a).await,
                Previous::Refused,
                "{version}"
            );
            // And the method `md5` takes the verifiers that Tandem sets.
            assert!(
                matches!(scene.login(&pending).await, Login::Accepted(_)),
                "{version}"
            );
            Ok(())
        })
        .await
    });
}

#[test]
fn fm19_login_and_password_change_together_and_a_retired_role_can_come_back() {
    run(|lab| async move {
        let scene = Scene::new(&lab, PostgresOptions::default()).await?;
        let (nobody, next) = (
            credential("app_b", "that nobody knows"),
            credential("app_b", "next"),
        );
        let (retiring, pending) = (
            Verifier::compute(&nobody.password),
            Verifier::compute(&next.password),
        );
        let retire = Change {
            means: Means::AlterRole { login: Some(false) },
            ..change_of(&scene.b.user, &retiring)
        };
        assert_eq!(
            change(&scene.server, &scene.admin, retire).await.unwrap(),
            Outcome::Done
        );
        assert_eq!(previous(&scene.server, &scene.b).await, Previous::Refused);
        assert_eq!(reason(&scene.login(&nobody).await), "NoLogin");
        // Before its turn the standby has the wrong password, which a change will mend; that it is NOLOGIN as well must
        // not hide this.
        assert_eq!(scene.login(&next).await, Login::WrongPassword);
        let revive = Change {
            means: Means::AlterRole { login: Some(true) },
            ..change_of(&scene.b.user, &pending)
        };
        assert_eq!(
            change(&scene.server, &scene.admin, revive).await.unwrap(),
            Outcome::Done
        );
        assert!(matches!(scene.login(&next).await, Login::Accepted(_)));
        Ok(())
    });
}

#[test]
fn fm18_a_password_that_the_policy_refuses_is_told_apart() {
    run(|lab| async move {
        let options = PostgresOptions::default()
            .setting("shared_preload_libraries", "pg_stat_statements,passwordcheck");
        let scene = Scene::new(&lab, options).await?;
        let before = scene.kept(&scene.b.user).await?;
        // The one thing that it can find out about a verifier.
        let guessed = Verifier::compute(&credential("app_b", "app_b").password);
        let outcome = change(&scene.server, &scene.admin, change_of(&scene.b.user, &guessed)).await;
        let Ok(Outcome::Refused(Refused::Password(finding))) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(finding.reason, "PasswordRejected");
        assert_eq!(scene.kept(&scene.b.user).await?, before);
        let better = Verifier::compute(&credential("app_b", "another").password);
        let outcome = change(&scene.server, &scene.admin, change_of(&scene.b.user, &better)).await;
        assert_eq!(outcome.unwrap(), Outcome::Done);
        Ok(())
    });
}

#[test]
fn fm21_another_server_than_the_rotation_began_on_is_left_alone() {
    run(|lab| async move {
        let scene = Scene::new(&lab, PostgresOptions::default()).await?;
        let before = scene.kept(&scene.b.user).await?;
        let verifier = Verifier::compute(&credential("app_b", "elsewhere").password);
        let Login::Accepted(here) = scene.login(&scene.b).await else {
            panic!("refused")
        };
        let elsewhere = Identity {
            system: "1".into(),
            timeline: 1,
        };
        let change_of = |expected| Change {
            expected: Some(expected),
            ..change_of(&scene.b.user, &verifier)
        };
        let (reason, message) = refusal(change(&scene.server, &scene.admin, change_of(&elsewhere)).await);
        assert_eq!(reason, "OtherServer");
        assert!(message.contains(&here.system), "{message}");
        let replica = scene.stage.postgres.replica("db-ro").await?;
        let standby = server(&replica.host(), 5432, "appdb", Some(lab.ca_pem())).unwrap();
        let (reason, _) = refusal(change(&standby, &scene.admin, change_of(&here)).await);
        assert_eq!(reason, "NotThePrimary");
        scene
            .sql("ALTER ROLE rotator SET default_transaction_read_only = on")
            .await?;
        let (reason, _) = refusal(change(&scene.server, &scene.admin, change_of(&here)).await);
        assert_eq!(reason, "ReadOnly");
        scene
            .sql("ALTER ROLE rotator RESET default_transaction_read_only")
            .await?;
        assert_eq!(scene.kept(&scene.b.user).await?, before);
        // A promotion is harmless (R22).
        let promoted = Identity {
            timeline: here.timeline + 1,
            ..here.clone()
        };
        assert_eq!(
            change(&scene.server, &scene.admin, change_of(&promoted))
                .await
                .unwrap(),
            Outcome::Done
        );
        Ok(())
    });
}

#[test]
fn fm26_names_of_all_kinds_are_changed_counted_and_let_in() {
    run(|lab| async move {
        let scene = Scene::new(&lab, PostgresOptions::default()).await?;
        for name in [
            "App \"B\"",
            "o'brien\\",
            "a%b@c:d/e?f#g h",
            "größe",
            "x\" PASSWORD 'y'; DROP ROLE app_a; --",
            "select",
        ] {
            let user = role(name);
            let quoted = format!("\"{}\"", name.replace('"', "\"\""));
            scene
                .sql(&format!(
                    "CREATE ROLE {quoted} LOGIN; GRANT app_owner TO {quoted}"
                ))
                .await?;
            for password in [
                "Plain1",
                "sp ace",
                "quo'te\"",
                "back\\slash",
                "%40@:/?#",
                "pässwörd",
                "$$",
            ] {
                let pending = credential(name, password);
                let verifier = Verifier::compute(&pending.password);
                let outcome = change(&scene.server, &scene.admin, change_of(&user, &verifier)).await;
                assert_eq!(outcome.unwrap(), Outcome::Done, "{name}");
                let login = login(&scene.server, &pending, Some(&user), None, Some(&scene.admin));
                assert!(matches!(login.await, Login::Accepted(_)), "{name} {password}");
            }
            let laggards = sessions(&scene.server, &scene.admin, &user).await;
            assert_eq!(laggards, Ok(vec![]), "{name}");
            let ended = terminate(&scene.server, &scene.admin, &user, AMPLE).await;
            assert_eq!(ended.unwrap(), Outcome::Done, "{name}");
        }
        assert!(
            matches!(scene.login(&scene.a).await, Login::Accepted(_)),
            "app_a was not dropped"
        );
        Ok(())
    });
}
