//! The contract: what the real Reloader was seen to do, line by line, and the numbers are those of that record.
//!
//! A line says what there is, what happens and what is to be seen then: each change of a workload, by its field and
//! place, and each event. What is not said is not to happen. A change is one of the manager `Reloader` by an ordinary
//! update, unless it says whose it is.

mod annotations;
mod errors;
mod flags;
mod kinds;
mod references;
mod scenes;
mod sequences;
mod starts;
mod strategy;

use std::time::Duration;

use serde_json::{Value, json};

use crate::given::{Given, secret};

/// One line of the contract.
pub(crate) struct Line {
    number: &'static str,
    about: &'static str,
    workloads: Vec<Value>,
    sources: Vec<Value>,
    steps: Vec<Step>,
    expected: Vec<String>,
    fenced: bool,
    exit: Option<i32>,
    least: Duration,
}

/// What the Secret of the table comes to with the passwords `p1` and `p2`.
const HASH_OF_P1: &str = "47420d9182db74a96ee77f9b7b3c78af38ea3278";
const HASH_OF_P2: &str = "7cff05197b8966f08163ad214471820828267f19";

/// Something that happens.
#[derive(Debug)]
pub(crate) enum Step {
    /// A Secret gets this content, and no other, in one write.
    Data(&'static str, Value),
    /// An object is changed by a merge patch.
    Change(&'static str, &'static str, Value),
    /// An object is changed by a strategic merge patch of this manager.
    As(&'static str, &'static str, &'static str, Value),
    /// This manager marks a Deployment in the form of the other strategy, now and with this hash.
    Mark(&'static str, &'static str, &'static str),
    /// An object is applied by this manager, as a whole.
    Apply(&'static str, Value),
    /// An object is put in place of the one of its name.
    Replace(Value),
    /// An object is created.
    Create(Value),
    /// An object is deleted.
    Delete(&'static str, &'static str),
    /// Reloader handles everything that has happened.
    Settle,
    /// Something is seen that begins so.
    Until(&'static str),
    /// Time passes.
    Pass(Duration),
    /// Reloader is stopped where it is.
    Freeze,
    /// Reloader goes on.
    Thaw,
    /// Reloader loses the API server.
    CutOff,
    /// Reloader has the API server again.
    Reconnect,
    /// Reloader is killed.
    Kill,
    /// Reloader is started.
    Start,
}

/// A line about these workloads. Unless it says otherwise there is a Secret `db`, whose password changes from `p0` to
/// `p1`, and nothing happens then.
pub(crate) fn line(
    number: &'static str,
    about: &'static str,
    workloads: impl IntoIterator<Item = Given>,
) -> Line {
    Line {
        number,
        about,
        workloads: workloads.into_iter().map(|workload| workload.object()).collect(),
        sources: vec![secret("db", "p0")],
        steps: vec![password("p1")],
        expected: Vec::new(),
        fenced: true,
        exit: None,
        least: Duration::ZERO,
    }
}

/// The password of `db` changes.
pub(crate) fn password(password: &str) -> Step {
    Step::Data("db", json!({"username": "app_a", "password": password}))
}

/// A `ConfigMap` with one key.
pub(crate) fn config_map(value: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "cm", "labels": {"contract": ""}},
        "data": {"a": value},
    })
}

/// A workload whose container `app` has the variable for `db` already, as its second one.
fn with_variable(workload: Given, value: &str) -> Given {
    let from = json!({"secretKeyRef": {"name": "db", "key": "password"}});
    workload.pod(json!({"containers": [{"name": "app", "image": "none", "env": [
        {"name": "PASSWORD", "valueFrom": from},
        {"name": "STAKATER_DB_SECRET", "value": value},
    ]}]}))
}

impl Line {
    /// With these in place of the Secret `db`.
    fn of(self, sources: impl IntoIterator<Item = Value>) -> Self {
        Self {
            sources: sources.into_iter().collect(),
            ..self
        }
    }

    /// With these steps in place of the change of `db`.
    fn when(self, steps: impl IntoIterator<Item = Step>) -> Self {
        Self {
            steps: steps.into_iter().collect(),
            ..self
        }
    }

    /// A change, and then the event of it.
    fn sees(mut self, change: &str) -> Self {
        self.expected.push(change.to_owned());
        self
    }

    /// The first variable for `db` in a container, and the event of it.
    fn env(self, workload: &str, container: &str) -> Self {
        self.variable(workload, container, "DB", "p1")
            .event(workload, "SECRET db", 1)
    }

    /// A new first variable in a container.
    fn variable(self, workload: &str, container: &str, name: &str, value: &str) -> Self {
        self.sees(&format!(
            "{workload} {container}[0] +STAKATER_{name}_SECRET={value}"
        ))
    }

    /// An event, and how often it came.
    fn event(self, workload: &str, subject: &str, count: u32) -> Self {
        self.sees(&format!("{workload}: Reloaded for {subject} ×{count}"))
    }

    /// After which nothing is handled that could be waited for.
    fn unfenced(self) -> Self {
        Self {
            fenced: false,
            ..self
        }
    }

    /// Which takes no less than this.
    fn lasts(self, least: Duration) -> Self {
        Self { least, ..self }
    }

    /// After which the program has ended with this code.
    fn exits(self, code: i32) -> Self {
        Self {
            exit: Some(code),
            ..self
        }
    }

    pub(crate) fn workloads(&self) -> &[Value] {
        &self.workloads
    }

    pub(crate) fn sources(&self) -> &[Value] {
        &self.sources
    }

    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    pub(crate) fn is_fenced(&self) -> bool {
        self.fenced
    }

    pub(crate) fn exit(&self) -> Option<i32> {
        self.exit
    }

    pub(crate) fn least(&self) -> Duration {
        self.least
    }

    /// What is to be seen: changes as they come, and then the events in the order of the alphabet.
    pub(crate) fn expected(&self) -> Vec<String> {
        let is_event = |line: &&String| line.contains(": ");
        let (mut events, changes): (Vec<_>, Vec<_>) = self.expected.iter().partition(is_event);
        events.sort();
        changes.into_iter().chain(events).cloned().collect()
    }
}
