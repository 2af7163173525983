//! A change that goes wrong half-way: too late, lost, killed, or in somebody's way.

use std::time::Duration;

use anyhow::Result;
use tandem::effects::postgres::{Change, Credential, Server, Verifier, change, previous};
use tandem::effects::{Error, Outcome};
use tandem::machine::facts::{Login, Previous};
use tandem_lab::{PostgresOptions, run};

use crate::proxy::{Mishap, proxy};
use crate::scene::{Scene, change_of, credential, server};

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
            time_left: Duration::from_secs(5),
            ..change_of(&scene.b.user, &verifier)
        };
        let since = scene.stage.postgres.server_log()?.len();
        let new_in_log = || anyhow::Ok(scene.stage.postgres.server_log()?.split_off(since));

        // The one late enough for the server to give up the idle transaction.
        let late = through(&scene, &["COMMIT"], Mishap::Late(Duration::from_millis(5_500))).await?;
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
            Mishap::Late(Duration::from_millis(3_200)),
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
