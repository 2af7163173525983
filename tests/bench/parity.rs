//! What the comparison of the two users costs in a large database: `cargo bench --bench parity`. Figures are printed,
//! never asserted; all are of one run.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a benchmark prints, and fails by panicking"
)]

#[allow(dead_code, reason = "of the tests' scene a benchmark needs less")]
#[path = "../postgres/scene.rs"]
mod scene;

use std::time::{Duration, Instant};

use anyhow::Result;
use tandem::effects::postgres::{Compared, login, parity};
use tandem::machine::facts::Login;
use tandem_lab::PostgresOptions;

use scene::Scene;

const TABLES: usize = 10_000;
const ROLES: usize = 200;
const ROUNDS: usize = 20;

fn main() {
    tandem_lab::run(|lab| async move {
        for version in [14, 18] {
            let options = PostgresOptions::default()
                .version(version)
                .setting("max_locks_per_transaction", "1024");
            let scene = Scene::new(&lab, options).await?;
            println!("\nPostgreSQL {version}");
            measure(&scene, "a pair in an empty database").await?;
            fill(&scene).await?;
            measure(&scene, "and with the tables and roles, granted to the owner").await?;
            scene
                .sql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO app_a, app_b")
                .await?;
            measure(&scene, "and with every table granted to both users").await?;
            scene
                .sql("REVOKE SELECT ON ALL TABLES IN SCHEMA public FROM app_b")
                .await?;
            measure(&scene, "and with every table granted to one of them").await?;
        }
        Ok(())
    });
}

/// A tenth of the tables has a default, and each a role that may read it.
async fn fill(scene: &Scene) -> Result<()> {
    scene
        .sql(&format!(
            "DO $$ BEGIN
               FOR i IN 1..{ROLES} LOOP EXECUTE format('CREATE ROLE role_%s', i); END LOOP;
               FOR i IN 1..{TABLES} LOOP
                 EXECUTE format('CREATE TABLE t_%s (id int, note text%s)', i, CASE WHEN i % 10 = 0 THEN ' DEFAULT current_user' END);
                 EXECUTE format('GRANT ALL ON t_%s TO app_owner', i);
                 EXECUTE format('GRANT SELECT ON t_%s TO role_%s', i, 1 + i % {ROLES});
               END LOOP;
             END $$"
        ))
        .await?;
    scene.sql("ANALYZE").await
}

async fn measure(scene: &Scene, what: &str) -> Result<()> {
    let compared = Compared {
        pair: &scene.pair,
        active: Some(&scene.a.user),
        effective_role: Some(&scene.owner),
    };
    let (mut logins, mut questions) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let proven = login(&scene.server, &scene.a, None, None, None).await;
        logins.push(started.elapsed());
        assert!(matches!(proven, Login::Accepted(_)), "{proven:?}");
        let started = Instant::now();
        parity(&scene.server, &scene.admin, compared)
            .await
            .map_err(|finding| anyhow::anyhow!(finding.message))?;
        questions.push(started.elapsed());
    }
    let (login, question) = (median(logins), median(questions));
    println!(
        "{what:<55} login {:>6.1} ms, comparison {:>6.1} ms, {:.1} : 1",
        millis(login),
        millis(question),
        question.as_secs_f64() / login.as_secs_f64()
    );
    Ok(())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
