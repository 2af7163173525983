//! Reloader, which watches the application Secret beside Tandem: it restarts what is annotated for it, at any time after
//! the Secret has changed, and loses the changes that come while it is down. Its mark is made of the Secret's content.

use jiff::Timestamp;
use serde_json::json;
use tandem::machine::facts::Restarter;
use tandem::machine::journal::Trigger;
use tandem::machine::step::Waiting;
use tandem::machine::{Action, Decision, Facts, Loaded, Phase, Step, decide};
use tandem::policy::Policy;

use super::answers::{Landed, landed};
use super::data::{Cluster, Credential, JournalSecret, State};
use super::mutants::Mutant;
use super::rules::Broken;
use super::start::{spec, start, workload};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reloader {
    /// Whether it runs, as its Deployment says.
    pub up: bool,
    /// Changes that it has seen and not dealt with yet.
    pub queue: Vec<Credential>,
}

/// How long one workload is left to it.
pub const GRACE: i64 = 10_400;

/// Two Deployments, one of which is left to Reloader.
pub fn beside_reloader() -> State {
    let mut web = workload("web", true);
    web.left = true;
    let mut state = start(&spec(&json!({})), vec![web, workload("worker", true)]);
    state.cluster.reloader = Some(Reloader {
        up: true,
        queue: Vec::new(),
    });
    state
}

/// One Deployment, which was restarted by Reloader the last time; another of its pods may come.
pub fn after_reloader() -> State {
    let mut web = workload("web", true);
    web.left = true;
    web.elastic = true;
    let mut state = start(&spec(&json!({})), vec![web]);
    let there = state.cluster.secret.map(|secret| secret.credential);
    let web = &mut state.cluster.workloads[0];
    web.reloaded = there;
    web.pods[0].reloaded = there;
    state.cluster.reloader = Some(Reloader {
        up: true,
        queue: Vec::new(),
    });
    state
}

/// What Reloader's mark for the Secret's present content proves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Worth {
    /// Nothing: it was not delivered, or delivered before, and something else came between.
    Nothing,
    /// That it was made after the delivery.
    Proof,
    /// The same, unless it is from before the rotation that is taken back.
    PerhapsOld,
}

fn worth(cluster: &Cluster, kept: Option<&JournalSecret>) -> Worth {
    let judged = || {
        let landed: Landed = landed(cluster, kept)?;
        let rotation = kept?.journal()?.rotation.as_ref()?;
        let first = rotation.first.as_deref() == Some(&landed.id.to_string());
        (first && cluster.reloader.is_some()).then_some(match rotation.undoes {
            Some(_) => Worth::PerhapsOld,
            None => Worth::Proof,
        })
    };
    judged().unwrap_or(Worth::Nothing)
}

/// The content of which Reloader's mark proves something: what the Secret carries, when that was delivered for the first
/// time.
pub fn proves(cluster: &Cluster, kept: Option<&JournalSecret>) -> Option<Credential> {
    let secret = cluster.secret.filter(|_| worth(cluster, kept) == Worth::Proof);
    secret.map(|secret| secret.credential)
}

/// The same of what a roll-back delivers, where a mark may be from before.
pub fn returned(cluster: &Cluster, kept: Option<&JournalSecret>) -> Option<Credential> {
    let secret = cluster
        .secret
        .filter(|_| worth(cluster, kept) == Worth::PerhapsOld);
    secret.map(|secret| secret.credential)
}

/// Whether what the Secret carries was delivered before, and something else came between.
pub fn delivered_again(cluster: &Cluster, kept: Option<&JournalSecret>) -> bool {
    landed(cluster, kept).is_some() && cluster.reloader.is_some() && worth(cluster, kept) == Worth::Nothing
}

/// Who restarts a workload.
pub fn restarter(cluster: &Cluster, left: bool, again: bool) -> Restarter {
    let runs = cluster.reloader.as_ref().is_some_and(|reloader| reloader.up);
    if left && runs && !again {
        Restarter::Reloader
    } else {
        Restarter::Tandem
    }
}

/// The Secret has another content.
pub fn notice(state: &mut State, credential: Credential) {
    if let Some(reloader) = state.cluster.reloader.as_mut().filter(|reloader| reloader.up) {
        reloader.queue.push(credential);
    }
}

/// Whether it has anything to do.
pub fn is_busy(state: &State) -> bool {
    let reloader = state.cluster.reloader.as_ref();
    reloader.is_some_and(|reloader| reloader.up && !reloader.queue.is_empty())
}

/// It deals with one change.
pub fn reload(state: &mut State) {
    let Some(reloader) = &mut state.cluster.reloader else {
        return;
    };
    if reloader.queue.is_empty() {
        return;
    }
    let credential = reloader.queue.remove(0);
    for index in 0..state.cluster.workloads.len() {
        if state.cluster.workloads[index].left {
            mark(state, index, credential);
        }
    }
}

/// Its mark, whoever makes it. The same once more is no change.
pub fn mark(state: &mut State, index: usize, credential: Credential) {
    if state.cluster.workloads[index].reloaded != Some(credential) {
        state.about_to_change();
        let current = state.cluster.secret.map(|secret| secret.credential);
        let workload = &mut state.cluster.workloads[index];
        workload.reloaded = Some(credential);
        // For a change that is over already it is Reloader's own lateness.
        workload.turned += u8::from(current == Some(credential));
    }
}

/// Its process ends, and with it what it had seen; or another begins.
pub fn turn(state: &mut State, up: bool) {
    state.about_to_change();
    if let Some(reloader) = &mut state.cluster.reloader {
        reloader.up = up;
        reloader.queue.clear();
    }
}

/// S10: nobody is rolled out twice for one delivery. After a recovery nobody knows what had been restarted; and when a
/// delivery had to be made again, or is taken back, Reloader may still be busy with the one before.
pub fn once(state: &State) -> Option<Broken> {
    state.cluster.reloader.as_ref()?;
    let kept = state.cluster.journal.as_ref();
    let journal = kept?.journal()?;
    let rotation = journal.rotation.as_ref()?;
    let recovered = rotation.trigger == Trigger::Recovery;
    let twice = state
        .cluster
        .workloads
        .iter()
        .find(|workload| workload.turned > 1)?;
    let busy = delivered_again(&state.cluster, kept) || rotation.undoes.is_some();
    (!recovered && !busy && !state.ledger.meddled)
        .then(|| format!("S10: {} is rolled out twice for one delivery", twice.name))
}

/// Broken minds that only a world with Reloader shows.
pub const RELOADER_MUTANTS: [Mutant; 2] = [
    Mutant {
        name: "takes over too early",
        breaks: "S10",
        think: too_early,
    },
    Mutant {
        name: "never takes over",
        breaks: "L",
        think: never,
    },
];

fn too_early(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let mut facts = facts.clone();
    for consumer in facts.consumers.iter_mut().flatten() {
        consumer.restarter = Restarter::Tandem;
    }
    decide(policy, journal, &facts, now)
}

fn never(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let right = decide(policy, journal, facts, now);
    match &right.step {
        Step::Act(Action::Restart {
            consumer,
            form: Restarter::Reloader,
            ..
        }) => {
            let until = now + jiff::SignedDuration::from_mins(1);
            let why = Waiting::Reloader {
                left: vec![consumer.clone()],
                until: Some(until),
                overdue: false,
            };
            Decision {
                phase: Phase::Delivered,
                step: Step::Wait { until, why },
            }
        }
        _ => right,
    }
}
