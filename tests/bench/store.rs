//! What a rotation through a store costs: `cargo bench --bench store`. Figures are printed, never asserted; all are of
//! one run.

#![allow(
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark prints, and fails by panicking"
)]

#[allow(dead_code, reason = "of the tests' scenes a benchmark needs less")]
#[path = "../store_first/place.rs"]
mod place;
#[allow(dead_code, reason = "of the tests' scenes a benchmark needs less")]
#[path = "../cluster/scene.rs"]
mod scene;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde_json::json;
use tandem_lab::aws::{Call, Value};
use tandem_lab::{Lab, Login, Request};

use place::{EXTERNAL_SECRET, Place, STORE, STORED, Setup, document};
use scene::POLICY;

const ROUNDS: usize = 5;
/// How often the Secret is looked at.
const GLANCE: Duration = Duration::from_millis(10);
/// Of the operator alone, where the default is an hour.
const INTERVAL: &str = "5s";
/// As many of them as there are rounds are the interval.
const STEP: Duration = Duration::from_secs(1);

fn main() {
    tandem_lab::run(|lab| async move {
        let place = Place::new(&lab, "cost", Setup::default()).await?;
        let annotated = annotated(&lab, &place).await?;
        let alone = alone(&place).await?;
        let tandem = rotations(&place).await?;
        println!("\nfrom the move of AWSCURRENT, {ROUNDS} times each");
        let rows = [
            ("Tandem: the Secret has changed", &tandem.changed),
            ("Tandem: has verified it", &tandem.verified),
            ("`kubectl annotate` at once: the Secret has changed", &annotated),
            ("refreshInterval 5s alone: the Secret has changed", &alone),
        ];
        for (what, times) in rows {
            println!("{what:<52} {}", spread(times));
        }
        let verified = mean(&tandem.verified);
        println!(
            "Tandem verified : annotated by hand {:.2} : 1; refreshInterval 5s alone : Tandem verified {:.0} : 1; with the default of 1 h, half an hour on average : Tandem verified {:.0} : 1",
            verified / mean(&annotated),
            mean(&alone) / verified,
            1800.0 / verified
        );
        Ok(())
    });
}

/// A person, or a pipeline, that knows of the annotation: `kubectl` itself included.
async fn annotated(lab: &Lab, place: &Place) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for round in 1..=ROUNDS {
        let before = place.credential().await?;
        let moved = put(place, &before.user, round)?;
        let (lab, namespace) = (lab.clone(), place.namespace().to_owned());
        let asked = tokio::task::spawn_blocking(move || {
            let object = format!("externalsecret/{EXTERNAL_SECRET}");
            let request = format!("force-sync=round-{round}");
            lab.kubectl(&["-n", &namespace, "annotate", "--overwrite", &object, &request])
        });
        times.push(seconds(moved, changed(place, &before).await?));
        asked.await??;
    }
    Ok(times)
}

/// The operator, asked by nobody.
async fn alone(place: &Place) -> Result<Vec<f64>> {
    interval(place, INTERVAL).await?;
    let mut times = Vec::new();
    for round in 1..=ROUNDS {
        let before = place.credential().await?;
        let moved = put(place, &before.user, ROUNDS + round)?;
        times.push(seconds(moved, changed(place, &before).await?));
        // At another point of the interval each time.
        tokio::time::sleep(STEP * u32::try_from(round)?).await;
    }
    let (before, login) = (place.credential().await?, &place.stage.pair.a);
    place.aws.put(STORED, Value::Text(document(login)))?;
    changed(place, &before).await?;
    interval(place, "1h0m0s").await?;
    Ok(times)
}

struct Rotations {
    changed: Vec<f64>,
    verified: Vec<f64>,
}

async fn rotations(place: &Place) -> Result<Rotations> {
    let app = place.app("app", 3).await?;
    let mut all = Rotations {
        changed: Vec::new(),
        verified: Vec::new(),
    };
    for round in 1..=ROUNDS {
        let before = place.before().await?;
        let (asked, told) = (place.calls().len(), place.audit.clone().from_here()?);
        let (rotated, changed) = tokio::join!(place.rotate(), changed(place, &before.login));
        rotated?;
        place.rotated(&before, &[&app]).await?;
        let calls = place.calls().split_off(asked);
        let moved = moved(&calls)?;
        let (namespace, account) = (place.controller.namespace(), place.controller.service_account());
        let requests = told.service_account(namespace, account).read()?;
        all.changed.push(seconds(moved, changed?));
        all.verified.push(seconds(moved, recorded(&requests, moved)?));
        let (start, end) = began_and_ended(&requests)?;
        let between = |from: Timestamp, to: Timestamp| -> Vec<Call> {
            let within = |call: &&Call| from <= call.at && call.at < to;
            calls.iter().filter(within).cloned().collect()
        };
        println!(
            "rotation {round}: {} store calls: preflight before it {}; itself {}; preflight after it {}; {}",
            calls.len(),
            by_action(&between(Timestamp::MIN, start)),
            by_action(&between(start, end)),
            by_action(&between(end, Timestamp::MAX)),
            writes(&requests)
        );
    }
    Ok(all)
}

/// Another password in the store, which nobody uses; says when.
fn put(place: &Place, user: &str, round: usize) -> Result<Timestamp> {
    let login = Login::new(user, &format!("nobody-uses-this-{round:04}"));
    place.aws.put(STORED, Value::Text(document(&login)))?;
    Ok(Timestamp::now())
}

/// When the Secret has another password.
async fn changed(place: &Place, before: &Login) -> Result<Timestamp> {
    while place.credential().await?.password == before.password {
        tokio::time::sleep(GLANCE).await;
    }
    Ok(Timestamp::now())
}

async fn interval(place: &Place, interval: &str) -> Result<()> {
    let properties = ["username", "password"];
    let mut external = place
        .eso
        .external_secret(EXTERNAL_SECRET, STORE, STORED, &properties);
    external["spec"]["refreshInterval"] = json!(interval);
    place.eso.apply(&[external]).await
}

/// When readers of the store got the new credential from.
fn moved(calls: &[Call]) -> Result<Timestamp> {
    let current = |call: &&Call| call.stages == ["AWSCURRENT"] && call.removed_from.is_some();
    let moved = calls.iter().find(current).context("nothing was moved")?;
    Ok(moved.at)
}

/// When Tandem recorded that the Secret carries it: the first write of the journal after the move.
fn recorded(requests: &[Request], moved: Timestamp) -> Result<Timestamp> {
    let recorded = records(requests).find(|at| *at > moved);
    recorded.context("the delivery was not recorded")
}

/// When the journal said first that a rotation runs, and last that it does not any more.
fn began_and_ended(requests: &[Request]) -> Result<(Timestamp, Timestamp)> {
    let (first, last) = (records(requests).min(), records(requests).max());
    first.zip(last).context("the journal was not written")
}

/// When the journal was written.
fn records(requests: &[Request]) -> impl Iterator<Item = Timestamp> {
    let journal = format!("{POLICY}-tandem");
    let writes = requests
        .iter()
        .filter(move |request| request.is_write() && request.name.as_deref() == Some(&journal));
    writes.map(|request| request.at)
}

fn by_action(calls: &[Call]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for call in calls {
        *counts.entry(&call.action).or_default() += 1;
    }
    let counts: Vec<_> = counts
        .iter()
        .map(|(action, count)| format!("{count} {action}"))
        .collect();
    format!("{} ({})", calls.len(), counts.join(", "))
}

fn writes(requests: &[Request]) -> String {
    let writes: Vec<_> = requests
        .iter()
        .filter(|request| request.is_write() && request.resource != "leases")
        .collect();
    let count = |which: &dyn Fn(&Request) -> bool| writes.iter().filter(|request| which(request)).count();
    let status = count(&|request| request.subresource.as_deref() == Some("status"));
    let events = count(&|request| request.resource == "events");
    let asked = count(&|request| request.resource.starts_with("selfsubject"));
    format!(
        "{} API writes of its own (journal, ExternalSecret, 1 consumer), {status} status patches, {events} Events, {asked} access reviews",
        writes.len() - status - events - asked
    )
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

fn mean(times: &[f64]) -> f64 {
    times.iter().sum::<f64>() / f64::from(u32::try_from(times.len()).unwrap_or(1))
}

fn spread(times: &[f64]) -> String {
    let smallest = times.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = times.iter().copied().fold(0.0, f64::max);
    format!("mean {:.3} s ({smallest:.3} to {largest:.3})", mean(times))
}
