//! A replica from which applications read: it knows what the primary knew some time ago, and has sessions of its own.

use jiff::Timestamp;
use serde_json::json;
use tandem::machine::endpoints::{Door, EndpointSeen, Lag};
use tandem::machine::facts::{Finding, Quiet, Sessions};
use tandem::machine::{Action, Decision, Facts, Loaded, Query, Step, decide};
use tandem::policy::Policy;

use super::answers::unreachable;
use super::data::{Credential, Database, Reader, State};
use super::mutants::{Mutant, act};
use super::start::{FIRST, spec, start, workload};

/// Name of the endpoint.
pub const READER: &str = "reader";

/// As the plainest start, with a replica and a report that runs there.
pub fn reading() -> State {
    let endpoints = json!([{"name": READER, "role": "Replica", "host": "db-ro.example.com"}]);
    let mut spec = spec(&json!({}));
    spec.database.endpoints = serde_json::from_value(endpoints).unwrap();
    let mut state = start(&spec, vec![workload("web", true)]);
    state.database.reader = Some(Reader {
        roles: state.database.primary,
        report: Some(FIRST[0]),
    });
    state
}

impl Database {
    /// Whether everybody who holds this credential can log in, wherever that is.
    pub fn works(&self, credential: Credential) -> bool {
        let reads = self.reader.is_none_or(|reader| reader.logs_in(credential));
        self.logs_in(credential) && reads && self.passes(credential)
    }

    /// Whether there is something that the replica has not replayed.
    pub fn is_late(&self) -> bool {
        self.reader.is_some_and(|reader| reader.roles != self.primary)
    }
}

impl Reader {
    fn logs_in(&self, credential: Credential) -> bool {
        self.roles
            .get(credential.user)
            .is_some_and(|role| role.login && role.verifier == credential.password)
    }
}

/// What comes of trying the pending credential there.
pub fn door(state: &State, pending: Credential) -> Option<EndpointSeen> {
    let reader = state.database.reader?;
    let door = if !state.database.up {
        Door::Refused(unreachable())
    } else if reader.logs_in(pending) {
        Door::Open
    } else if state.database.is_late() {
        Door::Behind(vec![Lag {
            endpoint: READER.into(),
            at: "db-ro.example.com:5432".into(),
            written: "0/2".into(),
            replayed: Some("0/1".into()),
            bytes: Some(1),
            cause: None,
        }])
    } else {
        Door::Refused(Finding {
            blocks: true,
            reason: "WrongPassword",
            message: "the replica refuses the password".into(),
        })
    };
    let name = READER.into();
    Some(EndpointSeen { name, door })
}

/// Minds that forget the replica.
pub const READER_MUTANTS: [Mutant; 3] = [
    Mutant {
        name: "takes the primary's word for the replica's",
        breaks: "S5",
        think: primary_speaks,
    },
    Mutant {
        name: "forgets one endpoint in the drain",
        breaks: "S3",
        think: forget_the_others,
    },
    Mutant {
        name: "asks no replica again before it retires",
        breaks: "S1",
        think: asked_before,
    },
];

fn all_open(facts: &Facts) -> Facts {
    Facts {
        endpoints: Some(vec![EndpointSeen {
            name: READER.into(),
            door: Door::Open,
        }]),
        ..facts.clone()
    }
}

fn primary_speaks(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let right = decide(policy, journal, facts, now);
    match (&right.step, decide(policy, journal, &all_open(facts), now).step) {
        (Step::Look(Query::Endpoints), Step::Act(flip @ Action::Flip { .. })) => act(right.phase, flip),
        _ => right,
    }
}

fn asked_before(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let right = decide(policy, journal, facts, now);
    match right.step {
        Step::Look(Query::Endpoints) if facts.sessions.is_some() => {
            decide(policy, journal, &all_open(facts), now)
        }
        _ => right,
    }
}

/// Only who is at the primary is waited for.
pub fn forget_the_others(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let mut facts = facts.clone();
    if let Some(Sessions::Counted { laggards, quiet }) = &mut facts.sessions {
        let there = laggards.len();
        laggards.retain(|laggard| laggard.endpoint.is_none());
        if laggards.len() < there {
            *quiet = Some(Quiet {
                since: now,
                polls: 99,
            });
        }
    }
    decide(policy, journal, &facts, now)
}
