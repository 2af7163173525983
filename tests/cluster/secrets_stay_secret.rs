//! fm28: the passwords of whole rotations, searched for everywhere they could have leaked to.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams};
use serde_json::json;
use tandem_lab::ControllerOptions;

use crate::scene::{POLICY, Scene};

/// A place and what stands in it.
type Place = (String, String);

#[test]
fn fm28_no_password_is_anywhere_but_in_secrets() {
    tandem_lab::run(|lab| async move {
        let scene = Scene::unready(
            &lab,
            "leaks",
            json!({}),
            ControllerOptions {
                log: "trace".into(),
                ..ControllerOptions::default()
            },
        )
        .await?;
        scene.stage.postgres.sql("postgres", "GRANT SET ON PARAMETER log_statement, log_min_duration_statement, log_min_error_statement, pg_stat_statements.track_utility TO rotator").await?;
        scene.ready().await?;
        let app = scene.app("app", 1).await?;
        let admin = scene.stage.pair.admin.clone();
        // The lab itself made the roles with their first passwords, in plain SQL: what counts comes after that.
        let made = scene.stage.postgres.server_log()?.len();
        scene
            .stage
            .postgres
            .sql(&scene.stage.pair.database, "SELECT pg_stat_statements_reset()")
            .await?;
        let mut needles = vec![("the administrator's password".to_owned(), admin.password)];
        let mut places: Vec<Place> = Vec::new();
        for turn in 1..=2 {
            needles.push((
                format!("the password before rotation {turn}"),
                scene.credential().await?.password,
            ));
            let nonce = scene.ask().await?;
            // While it runs, the journal holds what must not be seen elsewhere.
            scene.phase("Staged").await?;
            if let Some(journal) = journal(&scene).await? {
                needles.extend(journal);
            }
            places.push((format!("process arguments during rotation {turn}"), arguments()?));
            scene.completed(&nonce).await?;
            needles.push((
                format!("the password after rotation {turn}"),
                scene.credential().await?.password,
            ));
        }
        ensure!(
            needles.iter().any(|(what, _)| what.contains("verifier")),
            "the journal was never seen with a verifier in it"
        );
        ensure!(app.tally()?.attempts > 0, "the application never logged in");

        places.push((
            "the controller's logs at trace level".into(),
            scene.controller.logs()?,
        ));
        places.push((
            "the controller's metrics".into(),
            scene.controller.metrics().await?,
        ));
        let log = scene.stage.postgres.server_log()?;
        places.push((
            "the server's log".into(),
            log.get(made..).unwrap_or_default().to_owned(),
        ));
        places.push((
            "pg_stat_statements".into(),
            rows(&scene, "SELECT query FROM pg_stat_statements").await?,
        ));
        places.push((
            "pg_stat_activity".into(),
            rows(&scene, "SELECT query FROM pg_stat_activity").await?,
        ));
        let events: Api<Event> = scene.stage.namespace.api();
        places.push((
            "Events".into(),
            serde_json::to_string(&events.list(&ListParams::default()).await?.items)?,
        ));
        places.push((
            "the policy".into(),
            serde_json::to_string(&scene.policies.get(POLICY).await?)?,
        ));
        places.push(("the audit log".into(), audit_log(lab.dir())?));
        for (place, text) in &places {
            ensure!(
                text.len() > 20,
                "nothing was found in {place}: a search there proves nothing"
            );
        }
        let found = search(&places, &needles);
        ensure!(found.is_empty(), "{found:?}");

        // The search proves itself: what is planted in each place is found there.
        for (index, (place, text)) in places.clone().into_iter().enumerate() {
            let mut planted = places.clone();
            planted[index] = (place.clone(), format!("{text} x {} y", needles[0].1));
            let found = search(&planted, &needles);
            ensure!(
                found.len() == 1 && found[0].contains(&place),
                "a planted password in {place} was not found: {found:?}"
            );
        }
        eprintln!(
            "{} secrets searched for in {} places: 0 found",
            needles.len(),
            places.len()
        );
        Ok(())
    });
}

fn search(places: &[Place], needles: &[(String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    for (place, text) in places {
        for (what, needle) in needles {
            if text.contains(needle.as_str()) {
                found.push(format!("{what} is in {place}"));
            }
        }
    }
    found.dedup();
    found
}

/// Everything in the journal Secret that is not the journal itself.
async fn journal(scene: &Scene) -> Result<Option<Vec<(String, String)>>> {
    let secrets: Api<Secret> = scene.stage.namespace.api();
    let Some(secret) = secrets.get_opt(&format!("{POLICY}-tandem")).await? else {
        return Ok(None);
    };
    let mut found = Vec::new();
    for (key, value) in secret.data.unwrap_or_default() {
        if key != "journal.json" {
            found.push((format!("the journal's {key}"), String::from_utf8(value.0)?));
        }
    }
    Ok((!found.is_empty()).then_some(found))
}

async fn rows(scene: &Scene, query: &str) -> Result<String> {
    let rows = scene
        .stage
        .postgres
        .sql(&scene.stage.pair.database, query)
        .await?;
    Ok(rows
        .iter()
        .filter_map(|row| row.get(0))
        .collect::<Vec<_>>()
        .join("\n"))
}

/// The arguments of every process of the machine, the lab's pods among them.
fn arguments() -> Result<String> {
    let mut all = String::new();
    for entry in fs::read_dir("/proc").context("cannot read /proc")? {
        if let Ok(line) = fs::read(entry?.path().join("cmdline")) {
            all.push_str(&String::from_utf8_lossy(&line).replace('\0', " "));
            all.push('\n');
        }
    }
    Ok(all)
}

fn audit_log(lab: &Path) -> Result<String> {
    let path = lab.join("log/audit.jsonl");
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}
