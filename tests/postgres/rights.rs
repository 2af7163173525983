//! What the administrator and the pair must be, and what to type when they are not.

use tandem::api::spec::{OnActiveSessions, RetireMode};
use tandem::effects::Outcome;
use tandem::effects::postgres::{Credential, Verifier, Wanted, change, preflight};
use tandem::machine::facts::{Finding, Refused};
use tandem_lab::{PostgresOptions, run};

use crate::scene::{Scene, change_of, command, credential, on_every_version, role};

#[test]
fn fm17_an_administrator_without_rights_is_told_the_exact_grants_and_they_work() {
    run(|lab| async move {
        on_every_version(&lab, PostgresOptions::default(), async |scene, version| {
            let before = scene.kept(&scene.b.user).await?;
            // One that inherits and one that does not: for the latter, membership alone is not enough.
            for (name, kind) in [("poor", "INHERIT"), ("poor \"too\"", "NOINHERIT")] {
                let quoted = format!("\"{}\"", name.replace('"', "\"\""));
                scene
                    .sql(&format!("CREATE ROLE {quoted} LOGIN {kind} PASSWORD 'secret'"))
                    .await?;
                let admin = credential(name, "secret");
                let verifier = Verifier::compute(&scene.b.password);
                let outcome = change(&scene.server, &admin, change_of(&scene.b.user, &verifier)).await;
                let Ok(Outcome::Refused(Refused::Otherwise(finding))) = outcome else {
                    panic!("{version}: {outcome:?}")
                };
                assert_eq!(finding.reason, "AdminLacksRights", "{version}");
                assert_eq!(scene.kept(&scene.b.user).await?, before, "{version}");

                let wanted = Wanted {
                    on_active: OnActiveSessions::Terminate,
                    ..scene.wanted()
                };
                let blockers = blockers(&scene, &admin, wanted).await;
                let lacking: Vec<_> = blockers.iter().map(|finding| finding.reason).collect();
                assert_eq!(lacking, ["AdminLacksRights"; 3], "{version}: {blockers:#?}");
                for finding in &blockers {
                    scene.sql(command(finding)).await?;
                }
                let left = self::blockers(&scene, &admin, wanted).await;
                assert_eq!(left, [], "{version}: after {blockers:#?}");
                let outcome = change(&scene.server, &admin, change_of(&scene.b.user, &verifier)).await;
                assert_eq!(outcome.unwrap(), Outcome::Done, "{version}");
                scene
                    .sql(&format!("ALTER ROLE app_b PASSWORD '{before}'"))
                    .await?;
            }
            Ok(())
        })
        .await
    });
}

async fn blockers(scene: &Scene, admin: &Credential, wanted: Wanted<'_>) -> Vec<Finding> {
    let (findings, _) = preflight(&scene.server, admin, wanted).await;
    findings.into_iter().filter(|finding| finding.blocks).collect()
}

#[test]
fn fm17_one_of_the_two_is_not_enough_and_neither_is_the_attribute_since_16() {
    run(|lab| async move {
        let scene = Scene::new(&lab, PostgresOptions::default().version(17)).await?;
        assert_eq!(scene.reasons().await.0, Vec::<&str>::new());
        for harm in ["REVOKE app_b FROM rotator", "ALTER ROLE rotator NOCREATEROLE"] {
            scene.sql(harm).await?;
            let found = blockers(&scene, &scene.admin, scene.wanted()).await;
            let [finding] = &found[..] else {
                panic!("{harm}: {found:#?}")
            };
            assert_eq!(finding.reason, "AdminLacksRights", "{harm}");
            scene.sql(command(finding)).await?;
            assert_eq!(scene.reasons().await.0, Vec::<&str>::new(), "{harm}");
        }
        // Without the role that Amazon has, the setting itself can be had anywhere.
        scene.sql("CREATE ROLE rds_password NOLOGIN; ALTER ROLE rotator SET rds.restrict_password_commands = on").await?;
        let found = blockers(&scene, &scene.admin, scene.wanted()).await;
        let [finding] = &found[..] else {
            panic!("{found:#?}")
        };
        assert_eq!(command(finding), "GRANT rds_password TO \"rotator\"");
        scene.sql(command(finding)).await?;
        assert_eq!(scene.reasons().await.0, Vec::<&str>::new());
        Ok(())
    });
}

#[test]
fn fm27_users_that_must_not_be_rotated_are_refused() {
    run(|lab| async move {
        let scene = Scene::new(&lab, PostgresOptions::default()).await?;
        let root = scene.stage.postgres.superuser();
        let root = credential(&root.user, &root.password);
        for (attribute, expected) in [
            ("SUPERUSER", "RoleIsSuperuser"),
            ("REPLICATION", "RoleIsReplication"),
        ] {
            for user in ["app_a", "app_b"] {
                scene.sql(&format!("ALTER ROLE {user} {attribute}")).await?;
                let found = blockers(&scene, &root, scene.wanted()).await;
                let [finding] = &found[..] else {
                    panic!("{user} {attribute}: {found:#?}")
                };
                assert_eq!(finding.reason, expected);
                scene.sql(command(finding)).await?;
                assert_eq!(scene.reasons().await.0, Vec::<&str>::new(), "{user} {attribute}");
            }
        }
        let found = blockers(&scene, &scene.a, scene.wanted()).await;
        assert!(
            found.iter().any(|finding| finding.reason == "AdminIsInThePair"),
            "{found:#?}"
        );
        Ok(())
    });
}

#[test]
fn fm19_a_standby_that_could_not_log_in_is_found_before_anything_is_changed() {
    run(|lab| async move {
        let scene = Scene::new(&lab, PostgresOptions::default()).await?;
        let cases = [
            ("ALTER ROLE app_b NOLOGIN", "NoLogin"),
            ("ALTER ROLE app_b VALID UNTIL '2020-01-01'", "PasswordExpired"),
            ("ALTER ROLE app_b CONNECTION LIMIT 0", "RoleConnectionLimit"),
            (
                "GRANT CONNECT ON DATABASE appdb TO app_a, rotator; REVOKE CONNECT ON DATABASE appdb FROM PUBLIC, app_owner",
                "NoConnectPrivilege",
            ),
        ];
        for (harm, expected) in cases {
            scene.sql(harm).await?;
            let found = blockers(&scene, &scene.admin, scene.wanted()).await;
            let [finding] = &found[..] else {
                panic!("{harm}: {found:#?}")
            };
            assert_eq!(finding.reason, expected);
            let no_login = Wanted {
                retire: RetireMode::NoLogin,
                ..scene.wanted()
            };
            let explained = blockers(&scene, &scene.admin, no_login).await.is_empty();
            assert_eq!(
                explained,
                expected == "NoLogin",
                "{harm}: only NOLOGIN is explained by the retirement"
            );
            scene.sql(command(finding)).await?;
            assert_eq!(scene.reasons().await.0, Vec::<&str>::new(), "{harm}");
        }
        scene.sql("DROP OWNED BY app_b; DROP ROLE app_b").await?;
        assert_eq!(scene.reasons().await.0, ["NoSuchRole"]);
        Ok(())
    });
}

#[test]
fn fm23_an_active_credential_that_does_not_log_in_is_named() {
    run(|lab| async move {
        let scene = Scene::new(&lab, PostgresOptions::default()).await?;
        scene.sql("ALTER ROLE app_a PASSWORD 'by somebody else'").await?;
        let found = blockers(&scene, &scene.admin, scene.wanted()).await;
        let [finding] = &found[..] else {
            panic!("{found:#?}")
        };
        assert_eq!(finding.reason, tandem::machine::project::ACTIVE_LOGIN_FAILED);
        assert!(finding.message.contains("app_a"), "{}", finding.message);

        // The administrator's own password is another matter, and the active user is still tried.
        let locked_out = credential("rotator", "wrong");
        let found: Vec<_> = blockers(&scene, &locked_out, scene.wanted())
            .await
            .iter()
            .map(|finding| finding.reason)
            .collect();
        assert_eq!(found, ["WrongPassword", "ActiveLoginFailed"]);
        // Nobody may be named at all.
        let nobody = Wanted {
            active: None,
            ..scene.wanted()
        };
        assert_eq!(blockers(&scene, &scene.admin, nobody).await, []);
        Ok(())
    });
}

#[test]
fn an_identity_that_may_not_be_asked_for_is_said_with_the_grant() {
    run(|lab| async move {
        let scene = Scene::new(&lab, PostgresOptions::default()).await?;
        scene.sql("SELECT 1").await?;
        scene
            .sql("REVOKE EXECUTE ON FUNCTION pg_control_system(), pg_control_checkpoint() FROM PUBLIC")
            .await?;
        let found = blockers(&scene, &scene.admin, scene.wanted()).await;
        let reasons: Vec<_> = found.iter().map(|finding| finding.reason).collect();
        assert_eq!(
            reasons, ["IdentityHidden"; 2],
            "the administrator's and the active user's"
        );
        scene.sql(command(&found[0])).await?;
        assert_eq!(scene.reasons().await.0, Vec::<&str>::new());
        let unknown = role("unknown");
        let verifier = Verifier::compute(&scene.b.password);
        let outcome = change(&scene.server, &scene.admin, change_of(&unknown, &verifier)).await;
        let Ok(Outcome::Refused(Refused::Otherwise(finding))) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(finding.reason, "NoSuchRole");
        Ok(())
    });
}
