//! Searching for secrets in all the places that they could have leaked to.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams};
use serde_json::json;

use crate::scene::{POLICY, Scene};

/// What a secret is, and the secret; or a place, and what stands in it.
type Named = (String, String);

/// Secrets, and the places in which they must not be.
pub(crate) struct Search {
    secrets: Vec<Named>,
    places: Vec<Named>,
    /// How much of the server's log was there before.
    made: usize,
    rotations: u32,
}

impl Search {
    /// Begins. The lab itself made the roles with their first passwords, in plain SQL: what counts comes after that.
    pub(crate) async fn begin(scene: &Scene) -> Result<Self> {
        let (stage, postgres) = (&scene.stage, &scene.stage.postgres);
        let made = postgres.server_log()?.len();
        postgres
            .sql(&stage.pair.database, "SELECT pg_stat_statements_reset()")
            .await?;
        let mut search = Self {
            secrets: Vec::new(),
            places: Vec::new(),
            made,
            rotations: 0,
        };
        search.secret("the administrator's password", &stage.pair.admin.password);
        Ok(search)
    }

    pub(crate) fn secret(&mut self, what: impl Into<String>, secret: &str) {
        self.secrets.push((what.into(), secret.to_owned()));
    }

    pub(crate) fn place(&mut self, what: impl Into<String>, text: String) {
        self.places.push((what.into(), text));
    }

    /// Has a rotation made, and remembers all its secrets.
    pub(crate) async fn rotation(&mut self, scene: &Scene) -> Result<()> {
        self.rotations += 1;
        let turn = self.rotations;
        let before = scene.credential().await?.password;
        self.secret(format!("the password before rotation {turn}"), &before);
        let nonce = scene.ask().await?;
        // While it runs, the journal holds what must not be seen elsewhere.
        scene.phase("Staged").await?;
        self.journal(scene).await?;
        self.place(format!("process arguments during rotation {turn}"), arguments()?);
        scene.completed(&nonce).await?;
        let after = scene.credential().await?.password;
        self.secret(format!("the password after rotation {turn}"), &after);
        Ok(())
    }

    /// Looks into all the places that any rotation passes.
    pub(crate) async fn look_around(&mut self, scene: &Scene) -> Result<()> {
        self.place("the controller's logs at trace level", scene.controller.logs()?);
        self.place("the controller's metrics", scene.controller.metrics().await?);
        let log = scene.stage.postgres.server_log()?;
        self.place(
            "the server's log",
            log.get(self.made..).unwrap_or_default().to_owned(),
        );
        self.place(
            "pg_stat_statements",
            rows(scene, "SELECT query FROM pg_stat_statements").await?,
        );
        self.place(
            "pg_stat_activity",
            rows(scene, "SELECT query FROM pg_stat_activity").await?,
        );
        let events: Api<Event> = scene.stage.namespace.api();
        let events = events.list(&ListParams::default()).await?.items;
        self.place("Events", serde_json::to_string(&events)?);
        let policy = scene.policies.get(POLICY).await?;
        self.place("the policy", serde_json::to_string(&policy)?);
        self.place("the audit log", audit_log(scene.lab.dir())?);
        Ok(())
    }

    /// No secret is in any place; and each place is one in which it would have been found.
    pub(crate) fn finds_nothing(&self) -> Result<()> {
        ensure!(
            self.secrets.iter().any(|(what, _)| what.contains("verifier")),
            "the journal was never seen with a verifier in it"
        );
        for (place, text) in &self.places {
            ensure!(
                text.len() > 20,
                "nothing was found in {place}: a search there proves nothing"
            );
        }
        let found = self.found(&self.places);
        ensure!(found.is_empty(), "{found:?}");
        // What is planted in each place is found there.
        for (index, (place, text)) in self.places.iter().enumerate() {
            let mut planted = self.places.clone();
            planted[index] = (place.clone(), format!("{text} x {} y", self.secrets[0].1));
            let found = self.found(&planted);
            ensure!(
                found.len() == 1 && found[0].contains(place),
                "a planted password in {place} was not found: {found:?}"
            );
        }
        eprintln!(
            "{} secrets searched for in {} places: 0 found",
            self.secrets.len(),
            self.places.len()
        );
        Ok(())
    }

    fn found(&self, places: &[Named]) -> Vec<String> {
        let mut found = Vec::new();
        for (place, text) in places {
            for (what, secret) in &self.secrets {
                if text.contains(secret.as_str()) {
                    found.push(format!("{what} is in {place}"));
                }
            }
        }
        found.dedup();
        found
    }

    /// Everything in the journal Secret is a secret that is not the journal itself; that, and what is written on the
    /// Secret's outside, are places.
    async fn journal(&mut self, scene: &Scene) -> Result<()> {
        let secrets: Api<Secret> = scene.stage.namespace.api();
        let Some(secret) = secrets.get_opt(&format!("{POLICY}-tandem")).await? else {
            return Ok(());
        };
        let mut open = json!({"metadata": secret.metadata}).to_string();
        for (key, value) in secret.data.unwrap_or_default() {
            let value = String::from_utf8(value.0)?;
            if key == "journal.json" {
                open.push_str(&value);
            } else {
                self.secret(format!("the journal's {key}"), &value);
            }
        }
        self.place(
            format!("the journal's open part in rotation {}", self.rotations),
            open,
        );
        Ok(())
    }
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
