//! Broken minds that only the way back shows.

use jiff::Timestamp;
use tandem::machine::facts::Previous;
use tandem::machine::step::Entry;
use tandem::machine::{Action, Decision, Facts, Loaded, Phase, Step, decide};
use tandem::policy::Policy;

use super::mutants::{Mutant, act, rotation};

/// All of them.
pub const ROLL_BACK_MUTANTS: [Mutant; 4] = [
    Mutant {
        name: "rolls back only half",
        breaks: "S8",
        think: restart_nobody_again,
    },
    Mutant {
        name: "retires the previous user after a roll-back",
        breaks: "L",
        think: retire_who_was_put_back,
    },
    Mutant {
        name: "rolls back though the old user is retired",
        breaks: "S9",
        think: roll_back_too_late,
    },
    Mutant {
        name: "drops a rotation that is given up before the flip",
        breaks: "S8",
        think: drop_before_flip,
    },
];

fn undoes(journal: &Loaded) -> bool {
    rotation(journal).is_some_and(|(_, rotation)| rotation.undoes.is_some())
}

fn restart_nobody_again(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let mut facts = facts.clone();
    if undoes(journal) {
        for consumer in facts.consumers.iter_mut().flatten() {
            consumer.old_pods.clear();
        }
    }
    decide(policy, journal, &facts, now)
}

fn retire_who_was_put_back(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let right = decide(policy, journal, facts, now);
    match (&right.step, rotation(journal)) {
        (Step::Act(Action::Retire { mode, .. }), Some((_, rotation))) if undoes(journal) => {
            let (user, mode) = (rotation.pending.clone(), *mode);
            act(right.phase, Action::Retire { user, mode })
        }
        _ => right,
    }
}

fn roll_back_too_late(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let late = decide(policy, journal, facts, now);
    let called_off = matches!(
        late.step,
        Step::Act(Action::Record {
            entry: Entry::CallOff,
            ..
        })
    );
    if !called_off || rotation(journal).is_none() {
        return late;
    }
    let facts = Facts {
        retired: false,
        previous: Some(Previous::Accepted),
        ..facts.clone()
    };
    decide(policy, journal, &facts, now)
}

fn drop_before_flip(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let mut right = decide(policy, journal, facts, now);
    if let (
        Phase::Staged,
        Step::Act(Action::Record {
            entry: entry @ Entry::RollBack,
            next,
        }),
        Loaded::Valid(journal),
    ) = (right.phase, &mut right.step, journal)
    {
        *entry = Entry::Finish;
        next.number = journal.number;
        next.rotation = None;
    }
    right
}
