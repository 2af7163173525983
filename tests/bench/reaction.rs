//! How soon a consumer is told to restart once the Secret has changed, by Tandem and by Reloader (its double, or the real
//! one when `RELOADER_BIN` points to it), in the same rotations: `cargo bench --bench reaction`. Figures are printed,
//! never asserted.

#![allow(
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark prints, and fails by panicking"
)]

#[allow(dead_code, reason = "of the tests' scenes a benchmark needs less")]
#[path = "../reloader/beside.rs"]
mod beside;
#[allow(dead_code, reason = "of the tests' scenes a benchmark needs less")]
#[path = "../cluster/scene.rs"]
mod scene;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde_json::json;
use tandem_lab::{CREDENTIALS_SECRET, ReloaderOptions, Request};

use beside::{Beside, Mark, NAMED};

const ROUNDS: usize = 10;

fn main() {
    tandem_lab::run(|lab| async move {
        let beside = Beside::new(&lab, "reaction", json!({}), ReloaderOptions::default()).await?;
        let named = beside.annotated("named", &[(NAMED, "db-credentials")]).await?;
        let plain = beside.annotated("plain", &[]).await?;
        let (mut tandem, mut reloader) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let audit = lab.audit().from_here()?.namespace(beside.namespace());
            beside
                .rotates(&[(&named, Mark::Variable), (&plain, Mark::Own)])
                .await?;
            let requests = audit.read()?;
            let changed = patched(&requests, "secrets", CREDENTIALS_SECRET)?;
            for (times, deployment) in [(&mut tandem, "plain"), (&mut reloader, "named")] {
                let told = patched(&requests, "deployments", deployment)?;
                times.push(told.duration_since(changed).as_secs_f64());
            }
        }
        println!("\nfrom the change of the Secret to the change of the pod template, {ROUNDS} rotations");
        for (who, times) in [("Tandem", &mut tandem), ("Reloader", &mut reloader)] {
            times.sort_by(f64::total_cmp);
            let (first, last) = times.first().zip(times.last()).context("no round")?;
            println!("{who:<9} median {:.3} s ({first:.3} to {last:.3})", median(times));
        }
        println!("Tandem : Reloader {:.2} : 1", median(&tandem) / median(&reloader));
        Ok(())
    });
}

/// When the API server was first asked to change an object, whoever asked.
fn patched(requests: &[Request], resource: &str, name: &str) -> Result<Timestamp> {
    let of = |request: &&Request| request.resource == resource && request.name.as_deref() == Some(name);
    let writes = requests
        .iter()
        .filter(of)
        .filter(|r| r.is_write() && r.subresource.is_none());
    let first = writes.map(|request| request.at).min();
    first.with_context(|| format!("nobody changed {name}"))
}

/// Of times in order.
fn median(times: &[f64]) -> f64 {
    times[times.len() / 2]
}
