//! Changing a role: what it does, what it leaves behind, and what happens when it goes wrong half-way.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tandem::effects::postgres::{Change, Credential, Server, Verifier, change, previous};
use tandem::effects::{Error, Outcome};
use tandem::machine::facts::{Identity, Login, Previous, Refused};
use tandem_lab::{PostgresOptions, run};

use crate::proxy::{Mishap, proxy};
use crate::scene::{AMPLE, Scene, change_of, command, credential, on_every_version, reason, role, server};

fn refusal(outcome: Result<Outcome, Error>) -> (&'static str, String) {
    match outcome {
        Ok(Outcome::Refused(Refused::Otherwise(finding) | Refused::Password(finding))) => {
            (finding.reason, finding.message)
        }
        other => panic!("not refused: {other:?}"),
    }
}

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
            login: Some(false),
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
            login: Some(true),
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
fn fm28_neither_password_nor_verifier_is_written_where_others_read() {
    run(|lab| async move {
        let options = PostgresOptions::default().setting("log_min_duration_statement", "0");
        on_every_version(&lab, options, async |scene, version| {
            let statistics = async |text: &str| {
                let sql =
                    format!("SELECT count(*) FROM pg_stat_statements WHERE strpos(query, '{text}') > 0");
                let count = scene.stage.postgres.value("appdb", &sql).await?;
                anyhow::Ok(count.context("no count")?.parse::<u32>()?)
            };
            let root = scene.stage.postgres.superuser();
            let root = credential(&root.user, &root.password);

            // Without a right to silence anything: the control, which shows that the test can see.
            let loud = credential("app_b", "LoudPassword");
            let verifier = Verifier::compute(&loud.password);
            let outcome = change(&scene.server, &scene.admin, change_of(&loud.user, &verifier)).await;
            assert_eq!(outcome.unwrap(), Outcome::Done);
            let text = verifier.sensitive().expose();
            assert!(scene.stage.postgres.server_log()?.contains(text), "{version}");
            // The statistics hold what is being counted, too: the text of the question itself.
            assert!(statistics(text).await? >= 1, "{version}");
            let activity = format!("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'ALTER ROLE%'");
            assert_eq!(
                scene.stage.postgres.value("appdb", &activity).await?.as_deref(),
                Some("0")
            );
            assert!(
                !scene.stage.postgres.server_log()?.contains("LoudPassword"),
                "{version}"
            );

            // As preflight says, where the server has such rights; before, only superusers do.
            let (findings, _) =
                tandem::effects::postgres::preflight(&scene.server, &scene.admin, scene.wanted()).await;
            let visible = findings
                .iter()
                .find(|finding| finding.reason == "VerifiersVisible");
            let visible = visible.context("nothing said that verifiers are visible")?;
            assert!(!visible.blocks);
            let quiet_admin = if version >= 15 {
                scene.sql(command(visible)).await?;
                let (_, warnings) = scene.reasons().await;
                assert!(!warnings.contains(&"VerifiersVisible"), "{version}: {warnings:?}");
                &scene.admin
            } else {
                &root
            };
            let quiet = credential("app_b", "QuietPassword");
            let verifier = Verifier::compute(&quiet.password);
            let outcome = change(&scene.server, quiet_admin, change_of(&quiet.user, &verifier)).await;
            assert_eq!(outcome.unwrap(), Outcome::Done);
            assert!(
                matches!(scene.login(&quiet).await, Login::Accepted(_)),
                "{version}"
            );
            let unwritten = async |verifier: &Verifier, password: &str| {
                let log = scene.stage.postgres.server_log()?;
                let text = verifier.sensitive().expose();
                assert!(
                    !log.contains(text) && !log.contains(password),
                    "{version}: in the log"
                );
                // The question would count itself, so it asks for the text in two halves.
                let (head, tail) = text.split_at(40);
                let sql = format!(
                    "SELECT count(*) FROM pg_stat_statements WHERE strpos(query, '{head}' || '{tail}') > 0"
                );
                let count = scene.stage.postgres.value("appdb", &sql).await?;
                assert_eq!(count.as_deref(), Some("0"), "{version}: in the statistics");
                anyhow::Ok(())
            };
            unwritten(&verifier, "QuietPassword").await?;

            // Neither when it fails, which is when servers write the whole statement.
            let refused = Verifier::compute(&credential("app_b", "RefusedPassword").password);
            if version >= 15 {
                scene.sql("ALTER ROLE rotator NOCREATEROLE").await?;
                let (reason, _) =
                    refusal(change(&scene.server, &scene.admin, change_of(&quiet.user, &refused)).await);
                assert_eq!(reason, "AdminLacksRights", "{version}");
            } else {
                let nobody = role("nobody");
                let (reason, _) = refusal(change(&scene.server, &root, change_of(&nobody, &refused)).await);
                assert_eq!(reason, "NoSuchRole");
            }
            unwritten(&refused, "RefusedPassword").await?;
            Ok(())
        })
        .await
    });
}

/// Tandem's way to the server leads through a proxy; one without TLS, so that the proxy can read.
async fn through(scene: &Scene, words: &'static [&'static str], mishap: Mishap) -> Result<Server> {
    let postgres = &scene.stage.postgres;
    let port = proxy(
        format!("{}:{}", postgres.address(), postgres.port()),
        words,
        mishap,
    )
    .await?;
    Ok(server("127.0.0.1", port, "appdb", None).unwrap())
}

async fn unchanged(scene: &Scene, user: &Credential, before: &str) -> Result<()> {
    // Longer than a message is late, and than the server takes to notice.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(scene.kept(&user.user).await?, before);
    Ok(())
}

#[test]
fn fm10_a_commit_that_comes_after_the_lease_is_refused_by_the_server_itself() {
    run(|lab| async move {
        let scene = Scene::new(&lab, PostgresOptions::default().without_tls()).await?;
        let before = scene.kept(&scene.b.user).await?;
        let pending = credential("app_b", "late");
        let verifier = Verifier::compute(&pending.password);
        let short = Change {
            time_left: Duration::from_secs(2),
            ..change_of(&scene.b.user, &verifier)
        };
        let since = scene.stage.postgres.server_log()?.len();
        let new_in_log = || anyhow::Ok(scene.stage.postgres.server_log()?.split_off(since));

        // The one late enough for the server to give up the idle transaction.
        let late = through(&scene, &["COMMIT"], Mishap::Late(Duration::from_millis(2_500))).await?;
        let outcome = change(&late, &scene.admin, short).await;
        assert!(matches!(outcome, Err(Error::TimedOut { .. })), "{outcome:?}");
        unchanged(&scene, &scene.b, &before).await?;
        let log = new_in_log()?;
        assert!(
            log.contains("idle-in-transaction timeout") && !log.contains("too late"),
            "{log}"
        );

        // None of them so late that a limit on idleness could notice: it is the fence that holds.
        let slow = through(
            &scene,
            &["ALTER ROLE", "COMMIT"],
            Mishap::Late(Duration::from_millis(1_400)),
        )
        .await?;
        let outcome = change(&slow, &scene.admin, short).await;
        assert!(matches!(outcome, Err(Error::TimedOut { .. })), "{outcome:?}");
        unchanged(&scene, &scene.b, &before).await?;
        let log = new_in_log()?;
        assert!(
            log.contains("too late, the lease of the Tandem leader that sent this is over"),
            "{log}"
        );

        // The same messages with more time: nothing but their lateness was wrong.
        let ample = change_of(&scene.b.user, &verifier);
        assert_eq!(change(&slow, &scene.admin, ample).await.unwrap(), Outcome::Done);
        assert!(matches!(scene.login(&pending).await, Login::Accepted(_)));

        // And no time at all: nothing is even begun.
        let none = Change {
            time_left: Duration::ZERO,
            ..change_of(&scene.b.user, &verifier)
        };
        assert!(matches!(
            change(&scene.server, &scene.admin, none).await,
            Err(Error::Fenced)
        ));
        Ok(())
    });
}

#[test]
fn fm10_a_change_that_waited_for_a_lock_past_the_lease_is_not_committed() {
    run(|lab| async move {
        let scene = Scene::new(&lab, PostgresOptions::default()).await?;
        let before = scene.kept(&scene.b.user).await?;
        let root = scene.stage.postgres.superuser();
        let rival = scene
            .stage
            .postgres
            .connect_as(&root.user, &root.password, "appdb")
            .await?;
        rival
            .batch_execute("BEGIN; ALTER ROLE app_b CONNECTION LIMIT 50")
            .await?;
        let verifier = Verifier::compute(&credential("app_b", "waited").password);
        let short = Change {
            time_left: Duration::from_secs(2),
            ..change_of(&scene.b.user, &verifier)
        };
        let outcome = change(&scene.server, &scene.admin, short).await;
        assert!(
            matches!(outcome, Err(Error::TimedOut { .. } | Error::Postgres { .. })),
            "{outcome:?}"
        );
        rival.batch_execute("ROLLBACK").await?;
        unchanged(&scene, &scene.b, &before).await?;

        // Somebody else's change of the same role, committed first: the outcome is an error, and looking settles it.
        rival
            .batch_execute("BEGIN; ALTER ROLE app_b CONNECTION LIMIT 50")
            .await?;
        let waiting = change(&scene.server, &scene.admin, change_of(&scene.b.user, &verifier));
        let committing = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            rival.batch_execute("COMMIT").await
        };
        let (outcome, committed) = tokio::join!(waiting, committing);
        committed?;
        let Err(Error::Postgres { detail, .. }) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(detail, "concurrent_update (SQLSTATE XX000)");
        assert_eq!(scene.kept(&scene.b.user).await?, before);
        let again = change(&scene.server, &scene.admin, change_of(&scene.b.user, &verifier)).await;
        assert_eq!(again.unwrap(), Outcome::Done);
        Ok(())
    });
}

#[test]
fn fm03_a_change_whose_answer_is_lost_is_unknown_and_a_login_tells() {
    run(|lab| async move {
        let scene = Scene::new(&lab, PostgresOptions::default().without_tls()).await?;
        let pending = credential("app_b", "unknown");
        let verifier = Verifier::compute(&pending.password);
        let change_through = async |words: &'static [&'static str], mishap| {
            let server = through(&scene, words, mishap).await?;
            let started = std::time::Instant::now();
            let outcome = change(&server, &scene.admin, change_of(&scene.b.user, &verifier)).await;
            assert!(
                started.elapsed() < Duration::from_secs(10),
                "the loss was noticed at once"
            );
            assert!(
                matches!(outcome, Err(Error::Postgres { .. })),
                "{words:?} {mishap:?}: {outcome:?}"
            );
            anyhow::Ok(())
        };
        // Lost before the commit: nothing happened.
        for words in [&["BEGIN"], &["ALTER ROLE"], &["COMMIT"]] {
            change_through(words, Mishap::Lost).await?;
            assert_eq!(scene.login(&pending).await, Login::WrongPassword, "{words:?}");
            assert_eq!(
                previous(&scene.server, &scene.b).await,
                Previous::Accepted,
                "{words:?}"
            );
        }
        // Done, and the acknowledgement lost.
        change_through(&["COMMIT"], Mishap::AnswerLost).await?;
        let login = tandem_lab::eventually("the change", Duration::from_secs(5), async || {
            let login = scene.login(&pending).await;
            Ok(matches!(login, Login::Accepted(_)).then_some(login))
        });
        assert!(matches!(login.await?, Login::Accepted(_)));
        Ok(())
    });
}

#[test]
fn fm03_a_backend_that_is_killed_half_way_has_changed_nothing() {
    run(|lab| async move {
        let scene = Scene::new(&lab, PostgresOptions::default()).await?;
        let before = scene.kept(&scene.b.user).await?;
        let root = scene.stage.postgres.superuser();
        let rival = scene
            .stage
            .postgres
            .connect_as(&root.user, &root.password, "appdb")
            .await?;
        // Holds the change until it can be killed.
        rival
            .batch_execute("BEGIN; ALTER ROLE app_b CONNECTION LIMIT 50")
            .await?;
        let verifier = Verifier::compute(&credential("app_b", "killed").password);
        let waiting = change(&scene.server, &scene.admin, change_of(&scene.b.user, &verifier));
        let killing = async {
            tandem_lab::eventually("the waiting change", Duration::from_secs(4), async || {
                let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'rotator' AND wait_event_type = 'Lock'";
                Ok((!scene.stage.postgres.sql("postgres", kill).await?.is_empty()).then_some(()))
            })
            .await
        };
        let (outcome, killed) = tokio::join!(waiting, killing);
        killed?;
        let Err(Error::Postgres { detail, what }) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(detail, "ended (SQLSTATE 57P01)");
        assert!(what.contains("app_b"));
        rival.batch_execute("ROLLBACK").await?;
        unchanged(&scene, &scene.b, &before).await
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
                let login = tandem::effects::postgres::login(
                    &scene.server,
                    &pending,
                    Some(&user),
                    None,
                    Some(&scene.admin),
                );
                assert!(matches!(login.await, Login::Accepted(_)), "{name} {password}");
            }
            let laggards = tandem::effects::postgres::sessions(&scene.server, &scene.admin, &user).await;
            assert_eq!(laggards, Ok(vec![]), "{name}");
            let ended = tandem::effects::postgres::terminate(&scene.server, &scene.admin, &user, AMPLE).await;
            assert_eq!(ended.unwrap(), Outcome::Done, "{name}");
        }
        assert!(
            matches!(scene.login(&scene.a).await, Login::Accepted(_)),
            "app_a was not dropped"
        );
        Ok(())
    });
}
