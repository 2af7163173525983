//! Deployments that are paused for a while, so that several changes are one rollout.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::api::Patch;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;

use super::Program;
use super::work::Failure;
use super::workload::{Clients, Workload};

/// The timers that end pauses. They are in memory only: a program that is started again knows none of them.
pub(super) struct Timers {
    ask: UnboundedSender<Timer>,
    running: Mutex<BTreeSet<(String, String)>>,
}

/// One that runs.
pub(super) struct Timer {
    workload: Workload,
    after: Duration,
}

impl Timers {
    pub(super) fn new(ask: UnboundedSender<Timer>) -> Self {
        Self {
            ask,
            running: Mutex::default(),
        }
    }

    pub(super) fn start(&self, workload: &Workload, after: Duration) {
        self.running().insert(key(workload));
        // When nobody keeps timers any more, the program is ending.
        let _ = self.ask.send(Timer {
            workload: workload.clone(),
            after,
        });
    }

    fn running(&self) -> std::sync::MutexGuard<'_, BTreeSet<(String, String)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps the timers that are asked for.
pub(super) async fn keep(program: &Arc<Program>, mut asked: UnboundedReceiver<Timer>) {
    let mut running = JoinSet::new();
    while let Some(timer) = asked.recv().await {
        let program = Arc::clone(program);
        running.spawn(async move {
            tokio::time::sleep(timer.after).await;
            program.pass().await;
            program.timers.running().remove(&key(&timer.workload));
            let mut clients = Clients::new(&program);
            if let Err(error) = resume(&program, &mut clients, &timer.workload).await {
                let name = timer.workload.name();
                program.log.say(&format!("cannot resume {name}: {error}"));
            }
        });
    }
}

/// Pauses a Deployment that asks for it, unless it is paused already, and says for how long from now on. The timer of that
/// is started after the change is written: a pause of no length was seen to end after it (98).
///
/// # Errors
/// When the API server refuses, and when what the annotation says is no duration.
pub(super) async fn pause(
    program: &Arc<Program>,
    clients: &mut Clients,
    deployment: &Workload,
) -> Result<Option<Duration>, Failure> {
    let annotations = deployment.annotations();
    let Some(period) = annotations.get(&program.flags.pause_deployment_annotation) else {
        return Ok(None);
    };
    let period = duration(period)
        .ok_or_else(|| Failure::Handler(format!("{}: {period:?} is no duration", deployment.name())))?;
    let key_of_time = &program.flags.pause_deployment_time_annotation;
    let paused = deployment
        .object
        .data
        .pointer("/spec/paused")
        .and_then(Value::as_bool);
    if paused != Some(true) {
        let now = seconds(Timestamp::now());
        let patch = json!({
            "metadata": {"annotations": {(key_of_time.as_str()): now}},
            "spec": {"paused": true},
        });
        clients.patch(deployment, Patch::Strategic(patch)).await?;
        return Ok(Some(period));
    }
    // Whoever paused it without saying since when is a person, and resumes it.
    let Some(since) = annotations.get(key_of_time) else {
        return Ok(None);
    };
    if program.timers.running().contains(&key(deployment)) {
        return Ok(None);
    }
    let since: Timestamp = since
        .parse()
        .map_err(|error: jiff::Error| Failure::Handler(error.to_string()))?;
    let elapsed = Duration::try_from(Timestamp::now().duration_since(since)).unwrap_or_default();
    match period.checked_sub(elapsed) {
        Some(left) if !left.is_zero() => Ok(Some(left)),
        Some(_) | None => {
            resume(program, clients, deployment).await?;
            Ok(None)
        }
    }
}

async fn resume(program: &Arc<Program>, clients: &mut Clients, deployment: &Workload) -> kube::Result<()> {
    let patch = json!({
        "metadata": {"annotations": {(program.flags.pause_deployment_time_annotation.as_str()): null}},
        "spec": {"paused": false},
    });
    clients.patch(deployment, Patch::Strategic(patch)).await
}

fn key(workload: &Workload) -> (String, String) {
    (workload.namespace().to_owned(), workload.name().to_owned())
}

/// To the second, as it writes times.
pub(super) fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// What Go's `time.ParseDuration` understands, without signs: numbers with units, and a nought.
fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut seconds) = (text, None);
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let number: f64 = rest.get(..end)?.parse().ok()?;
        rest = rest.get(end..)?;
        let end = rest
            .find(|letter: char| letter.is_ascii_digit())
            .unwrap_or(rest.len());
        let unit = match rest.get(..end)? {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds = Some(seconds.unwrap_or(0.0) + number * unit);
        rest = rest.get(end..)?;
    }
    Duration::try_from_secs_f64(seconds?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_go() {
        for (text, expected) in [
            ("4s", Some(4000)),
            ("1m30.5s", Some(90_500)),
            ("0s", Some(0)),
            ("0", Some(0)),
            ("250ms", Some(250)),
            ("5 minutes", None),
            ("5", None),
            ("s", None),
            ("", None),
        ] {
            assert_eq!(duration(text), expected.map(Duration::from_millis), "{text:?}");
        }
    }
}
