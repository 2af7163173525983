//! What befalls the server itself, once and at any time. That is no fault, so every write meets it together with every
//! fault.

use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use tandem::machine::facts::{Identity, Login, SecretSeen};
use tandem::machine::step::Waiting;
use tandem::machine::{Action, Decision, Facts, Loaded, Step, decide};
use tandem::policy::Policy;

use super::answers::{SYSTEM, View};
use super::data::{Credential, Role, State, Write};
use super::events::drop_sessions;
use super::hands::Turn;
use super::mutants::{Mutant, rotation};
use super::rules::{Broken, excuse, working};
use super::start::{FIRST, spec, start, workload};
use super::writes::reconnect;

/// The cluster that comes in the place of the one that there is.
const OTHER_SYSTEM: &str = "7000000000000000002";

/// What is to befall it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// The primary is lost, and a standby takes its place after a moment (fm21).
    Failover,
    /// A snapshot is put back. By everything that the server says of itself it is the same.
    Restore,
    /// The name leads to another cluster, which is a copy.
    OtherCluster,
}

/// How old the roles are that are there then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Age {
    /// Nothing is lost.
    Present,
    /// The last change of a role is.
    Behind,
    /// Every change is.
    First,
}

/// As the plainest start, with an application that keeps sessions, and with this to come.
pub fn fated(fate: Fate) -> State {
    let mut state = start(&spec(&json!({})), vec![workload("web", false)]);
    state.database.fate = Some(fate);
    state
}

/// In which ways it can happen now.
pub fn ages(state: &State) -> Vec<Age> {
    let database = &state.database;
    let Some(fate) = database.fate.filter(|_| database.up) else {
        return Vec::new();
    };
    let ages: &[Age] = match fate {
        Fate::Failover => &[Age::Present, Age::Behind],
        Fate::Restore => &[Age::Behind, Age::First],
        Fate::OtherCluster => &[Age::Present, Age::First],
    };
    let differs = |age: &Age| roles(state, *age) != database.primary;
    let seen = |age: &&Age| **age == Age::Present || differs(age);
    ages.iter().filter(seen).copied().collect()
}

fn roles(state: &State, age: Age) -> [Role; 2] {
    match age {
        Age::Present => state.database.primary,
        Age::Behind => state.database.behind,
        Age::First => FIRST.map(|Credential { password, .. }| Role {
            verifier: password,
            login: true,
        }),
    }
}

/// It happens. Every session ends, and what was on its way to a role has nowhere to land any more.
pub fn befall(state: &mut State, age: Age) {
    let worked = working(state);
    let found = roles(state, age);
    let database = &mut state.database;
    let before = database.primary;
    match database.fate.take() {
        Some(Fate::Failover) => {
            database.timeline += 1;
            (database.up, database.away) = (false, true);
        }
        Some(Fate::Restore) => (database.up, database.away) = (false, true),
        Some(Fate::OtherCluster) => database.own = Some(before),
        None => {}
    }
    (database.primary, database.replica) = (found, found);
    database.set_back = found != before;
    if state
        .cluster
        .journal
        .as_ref()
        .is_none_or(|kept| kept.previous.is_none())
    {
        forget(state);
    }
    let changes = |write: &Write| matches!(write, Write::Role { .. } | Write::Terminate { .. });
    state.flights.retain(|flight| !changes(&flight.write));
    drop_sessions(state);
    excuse(state, &worked);
}

/// The journal is lost. Without it nobody knows the old password, and nobody can see that it works again.
pub fn forget(state: &mut State) {
    state.ledger.meddled |= state.database.set_back;
}

/// The server answers again.
pub fn come_back(state: &mut State) {
    (state.database.up, state.database.away) = (true, false);
    reconnect(state);
}

/// A person points the name back to the cluster that it led to.
pub fn point_back(state: &mut State) {
    if let Some(own) = state.database.own.take() {
        (state.database.primary, state.database.replica) = (own, own);
        drop_sessions(state);
    }
}

/// Which cluster it says that it is.
pub fn system(state: &State) -> &'static str {
    match state.database.own {
        None => SYSTEM,
        Some(_) => OTHER_SYSTEM,
    }
}

/// The cluster on which the rotation that was loaded began, or the last one ended.
pub fn expected(view: &View) -> Option<&str> {
    let journal = view.journal.as_ref()?.journal()?;
    let identity = match &journal.rotation {
        Some(rotation) => rotation.identity.as_ref(),
        None => journal.kept.as_ref()?.identity.as_ref(),
    };
    identity.map(|identity| identity.system.as_str())
}

/// S12: another cluster is left alone, and nobody is told anything that was seen there.
pub fn left_alone(state: &State, turn: &Turn, write: &Write) -> Option<Broken> {
    let other = expected(&turn.view).is_some_and(|expected| expected != system(state));
    match write {
        Write::Role { .. } if other => Some("S12: a role of another cluster is changed".into()),
        // The status says so, and an annotation may be answered.
        Write::Status { .. }
        | Write::Journal {
            entry: "call_off" | "reschedule" | "accept",
            ..
        } => None,
        Write::Journal { .. }
        | Write::Secret { .. }
        | Write::Propose { .. }
        | Write::Promote { .. }
        | Write::Sync { .. }
        | Write::Restart { .. }
        | Write::StandIn { .. }
        | Write::Role { .. }
        | Write::List { .. }
        | Write::Reload
        | Write::Terminate { .. } => turn
            .elsewhere
            .then(|| format!("S12: {} follows a look at another cluster", write.label())),
    }
}

/// Minds that are not prepared for it.
pub const FAILOVER_MUTANTS: [Mutant; 3] = [
    Mutant {
        name: "goes on at another cluster",
        breaks: "S12",
        think: take_any_cluster,
    },
    Mutant {
        name: "never sets again what a failover has lost",
        breaks: "L",
        think: set_once,
    },
    Mutant {
        name: "takes a promotion for another cluster",
        breaks: "L",
        think: take_none_but_the_first,
    },
];

fn take_any_cluster(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let began = rotation(journal).and_then(|(_, rotation)| rotation.identity.clone());
    let mut facts = facts.clone();
    if let (Some(Login::Accepted(Identity { system, .. })), Some(began)) = (&mut facts.pending, began) {
        *system = began.system;
    }
    decide(policy, journal, &facts, now)
}

fn take_none_but_the_first(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let began = rotation(journal).and_then(|(_, rotation)| rotation.identity.clone());
    let mut facts = facts.clone();
    if let (Some(Login::Accepted(found)), Some(began)) = (&mut facts.pending, began)
        && found.timeline != began.timeline
    {
        OTHER_SYSTEM.clone_into(&mut found.system);
    }
    decide(policy, journal, &facts, now)
}

fn set_once(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let right = decide(policy, journal, facts, now);
    let carried = matches!(
        facts.secret,
        Some(SecretSeen::Present {
            carries_pending: true,
            ..
        })
    );
    match &right.step {
        Step::Act(Action::SetVerifier { .. }) if carried && rotation(journal).is_some() => Decision {
            phase: right.phase,
            step: Step::Wait {
                until: now + SignedDuration::from_mins(1),
                why: Waiting::NotAccepted,
            },
        },
        _ => right,
    }
}
