//! The contract: what the real Reloader was seen to do, line by line, and the numbers are those of that record.
//!
//! A line says what there is, what happens and what is to be seen then: each change of a workload, by its field and
//! place, and each event. What is not said is not to happen. A change is one of the manager `Reloader` by an ordinary
//! update, unless it says whose it is.

mod annotations;
mod kinds;
mod references;

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use tandem_lab::{Lab, ReloaderOptions, run};

use crate::given::{Given, secret};
use crate::stage::{Fence, Stage};

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
}

/// Something that happens.
#[derive(Debug)]
pub(crate) enum Step {
    /// A Secret gets this content, and no other, in one write.
    Data(&'static str, Value),
    /// An object is changed by a merge patch.
    Change(&'static str, &'static str, Value),
    /// An object is changed by a strategic merge patch of this manager.
    As(&'static str, &'static str, &'static str, Value),
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
    }
}

/// The password of `db` changes.
pub(crate) fn password(password: &str) -> Step {
    Step::Data("db", json!({"username": "app_a", "password": password}))
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

    /// What is to be seen: changes as they come, and then the events in the order of the alphabet.
    pub(crate) fn expected(&self) -> Vec<String> {
        let is_event = |line: &&String| line.contains(": ");
        let (mut events, changes): (Vec<_>, Vec<_>) = self.expected.iter().partition(is_event);
        events.sort();
        changes.into_iter().chain(events).cloned().collect()
    }
}

fn play(options: ReloaderOptions, fence: Fence, lines: Vec<Line>) {
    run(|lab: Lab| async move {
        let mut stage = Stage::new(&lab, options, fence).await?;
        let mut different = Vec::new();
        for line in &lines {
            different.extend(differs(&mut stage, line).await);
        }
        assert!(different.is_empty(), "Reloader:\n{}", different.join("\n"));
        Ok(())
    });
}

async fn differs(stage: &mut Stage, line: &Line) -> Option<String> {
    let (seen, expected): (Result<_>, _) = (stage.play(line).await, line.expected());
    let seen = match seen {
        Ok(seen) if seen == expected => return None,
        Ok(seen) => seen.join("\n      "),
        Err(error) => format!("{error:#}"),
    };
    let expected = expected.join("\n      ");
    Some(format!(
        "- {} ({}):\n   saw\n      {seen}\n   not\n      {expected}",
        line.number, line.about
    ))
}

#[test]
fn what_is_referred_to_and_where_the_mark_goes() {
    play(ReloaderOptions::default(), Fence::default(), references::lines());
}

#[test]
fn what_annotations_mean() {
    play(ReloaderOptions::default(), Fence::default(), annotations::lines());
}

#[test]
fn every_kind_of_workload() {
    play(ReloaderOptions::default(), Fence::default(), kinds::lines());
}
