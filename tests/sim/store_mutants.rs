//! Broken minds that only a rotation through a store shows.

use jiff::Timestamp;
use tandem::machine::facts::{OperatorSeen, SecretSeen, StoreSeen};
use tandem::machine::step::{Entry, Waiting};
use tandem::machine::{Action, Decision, Facts, Loaded, Query, Step, decide};
use tandem::policy::Policy;

use super::mutants::{Mutant, act, rotation};

/// All of them.
pub const STORE_MUTANTS: [Mutant; 6] = [
    Mutant {
        name: "makes current what was never proven",
        breaks: "S5",
        think: propose_unproven,
    },
    Mutant {
        name: "asks for a sync before the flip",
        breaks: "S5",
        think: sync_first,
    },
    Mutant {
        name: "asks for a sync only once",
        breaks: "L",
        think: ask_once,
    },
    Mutant {
        name: "believes the operator and not the data",
        breaks: "S8",
        think: trust_the_operator,
    },
    Mutant {
        name: "takes a second delivery for the first",
        breaks: "S8",
        think: never_withdraw,
    },
    Mutant {
        name: "starts over although the store names a rotation",
        breaks: "S1",
        think: ignore_the_version,
    },
];

fn propose_unproven(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let right = decide(policy, journal, facts, now);
    match (&right.step, &facts.store) {
        (
            Step::Look(Query::Pending),
            Some(StoreSeen::Present {
                carries_pending: false,
                version,
                ..
            }),
        ) => {
            let base = version.clone();
            act(right.phase, Action::Propose { base })
        }
        _ => right,
    }
}

fn sync_first(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let right = decide(policy, journal, facts, now);
    match (&right.step, &facts.operator) {
        (Step::Act(Action::Flip { .. }), None) => Decision {
            phase: right.phase,
            step: Step::Look(Query::Operator),
        },
        (
            Step::Act(Action::Flip { .. }),
            Some(OperatorSeen::Present {
                version, asked: None, ..
            }),
        ) => {
            let version = version.clone();
            act(right.phase, Action::Sync { version, times: 1 })
        }
        _ => right,
    }
}

fn ask_once(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let mut facts = facts.clone();
    if let Some(OperatorSeen::Present {
        asked: Some(asked), ..
    }) = &mut facts.operator
    {
        asked.at = now;
    }
    decide(policy, journal, &facts, now)
}

fn trust_the_operator(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let right = decide(policy, journal, facts, now);
    if !matches!(
        right.step,
        Step::Wait {
            why: Waiting::Sync { .. },
            ..
        }
    ) {
        return trusted(policy, journal, facts, now).unwrap_or(right);
    }
    let mut facts = facts.clone();
    if let Some(SecretSeen::Present { carries_pending, .. }) = &mut facts.secret {
        *carries_pending = true;
    }
    decide(policy, journal, &facts, now)
}

/// Once it has recorded the delivery, it believes that too.
fn trusted(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Option<Decision> {
    rotation(journal)?.1.delivered.as_ref()?;
    let mut facts = facts.clone();
    if let Some(SecretSeen::Present { carries_pending, .. }) = &mut facts.secret {
        *carries_pending = true;
    }
    Some(decide(policy, journal, &facts, now))
}

fn never_withdraw(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let right = decide(policy, journal, facts, now);
    let withdraws = matches!(
        right.step,
        Step::Act(Action::Record {
            entry: Entry::Withdraw,
            ..
        })
    );
    match (withdraws, journal) {
        (true, Loaded::Valid(known)) => {
            let mut forgetful = known.clone();
            if let Some(rotation) = &mut forgetful.rotation {
                rotation.delivered = None;
            }
            let facts = Facts {
                refused: None,
                ..facts.clone()
            };
            decide(policy, &Loaded::Valid(forgetful), &facts, now)
        }
        _ => right,
    }
}

fn ignore_the_version(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let mut facts = facts.clone();
    if rotation(journal).is_none()
        && let Some(StoreSeen::Present { number, .. }) = &mut facts.store
    {
        *number = None;
    }
    decide(policy, journal, &facts, now)
}
