//! What is written of a change, by the server and by ourselves.

use std::sync::Mutex;

use anyhow::Context as _;
use tandem::effects::Outcome;
use tandem::effects::postgres::{Verifier, change, preflight};
use tandem::machine::facts::Login;
use tandem_lab::{PostgresOptions, run};

use crate::scene::{Scene, change_of, command, credential, on_every_version, refusal, role};

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
            let activity = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'ALTER ROLE%'";
            assert_eq!(
                scene.stage.postgres.value("appdb", activity).await?.as_deref(),
                Some("0")
            );
            assert!(
                !scene.stage.postgres.server_log()?.contains("LoudPassword"),
                "{version}"
            );

            // As preflight says, where the server has such rights; before, only superusers do.
            let (findings, _) = preflight(&scene.server, &scene.admin, scene.wanted()).await;
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

/// Keeps what is logged by this process: the driver logs the text of each statement.
struct Listener(Mutex<Vec<String>>);

static LISTENER: Listener = Listener(Mutex::new(Vec::new()));

impl log::Log for Listener {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.0.lock().unwrap().push(record.args().to_string());
    }

    fn flush(&self) {}
}

#[test]
fn fm28_the_driver_logs_no_statement_at_any_level() {
    log::set_logger(&LISTENER).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    log::info!("the listener hears");
    run(|lab| async move {
        let scene = Scene::new(&lab, PostgresOptions::default()).await?;
        let pending = credential("app_b", "Unheard");
        let verifier = Verifier::compute(&pending.password);
        let outcome = change(&scene.server, &scene.admin, change_of(&scene.b.user, &verifier)).await;
        assert_eq!(outcome.unwrap(), Outcome::Done);
        let heard = LISTENER.0.lock().unwrap().join("\n");
        assert!(heard.contains("the listener hears"), "{heard}");
        for secret in ["ALTER ROLE", "SCRAM", "Unheard"] {
            assert!(!heard.contains(secret), "{heard}");
        }
        Ok(())
    });
}
