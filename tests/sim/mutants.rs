//! Minds that are broken on purpose, each in one way, with `permits` looking away. The explorer must catch every one.

use jiff::Timestamp;
use tandem::controller::turn::Mind;
use tandem::machine::drift::Drift;
use tandem::machine::facts::{Login, Previous, SecretSeen, Sessions};
use tandem::machine::invariant::Broken;
use tandem::machine::journal::{Journal, Rotation};
use tandem::machine::step::{Entry, Waiting};
use tandem::machine::{Action, Decision, Facts, Loaded, Phase, Query, Step, decide};
use tandem::policy::{Policy, RotateMode};

use super::answers::TERMINATING;

/// A mind with one defect.
pub struct Mutant {
    /// What is wrong with it.
    pub name: &'static str,
    /// Name of the rule that it breaks.
    pub breaks: &'static str,
    /// What it does instead of deciding.
    pub think: fn(&Policy, &Loaded, &Facts, Timestamp) -> Decision,
}

impl Mind for Mutant {
    fn decide(&self, policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
        (self.think)(policy, journal, facts, now)
    }

    fn permits(&self, _: &Policy, _: &Loaded, _: &Facts, _: &Action) -> Result<(), Broken> {
        Ok(())
    }
}

/// Those that any rotation shows.
pub const MUTANTS: [Mutant; 22] = [
    Mutant {
        name: "is always in a hurry",
        breaks: "S1",
        think: always_immediate,
    },
    Mutant {
        name: "sets the verifier before the journal is written",
        breaks: "S2",
        think: verifier_first,
    },
    Mutant {
        name: "retires before the drain",
        breaks: "S3",
        think: retire_before_drain,
    },
    Mutant {
        name: "retires while pods hold the old credential",
        breaks: "S3",
        think: retire_with_pods,
    },
    Mutant {
        name: "forgets terminating pods",
        breaks: "S8",
        think: forget_terminating_pods,
    },
    Mutant {
        name: "retires by counters",
        breaks: "S8",
        think: count_the_new,
    },
    Mutant {
        name: "takes one quiet poll for a drain",
        breaks: "S3",
        think: one_quiet_poll,
    },
    Mutant {
        name: "looks at no pod once the rollout was recorded",
        breaks: "S8",
        think: trust_the_record,
    },
    Mutant {
        name: "flips without a login",
        breaks: "S5",
        think: flip_unproven,
    },
    Mutant {
        name: "takes an acknowledgement for a login",
        breaks: "S5",
        think: trust_the_answer,
    },
    Mutant {
        name: "restarts before the flip",
        // With nothing delivered the effects refuse to restart anybody, so it stands still.
        breaks: "L",
        think: restart_first,
    },
    Mutant {
        name: "stages afresh at each try",
        breaks: "S4",
        think: fresh_number,
    },
    Mutant {
        name: "acts while suspended",
        breaks: "S7",
        think: ignore_suspension,
    },
    Mutant {
        name: "retires without proving the active credential once more",
        breaks: "S1",
        think: no_second_proof,
    },
    Mutant {
        name: "retires the user that took over",
        breaks: "L",
        think: retire_the_wrong_one,
    },
    Mutant {
        name: "starts over although a delivery is marked",
        breaks: "S1",
        think: ignore_the_mark,
    },
    Mutant {
        name: "ends without seeing the old password refused",
        breaks: "S8",
        think: finish_unproven,
    },
    Mutant {
        name: "calls a rollout ended that is not",
        breaks: "S8",
        think: claim_rolled_out,
    },
    Mutant {
        name: "fights for a restart that somebody took back",
        breaks: "S9",
        think: fight,
    },
    Mutant {
        name: "never answers rotate-now",
        breaks: "L",
        think: forget_the_nonce,
    },
    Mutant {
        name: "re-applies over a second writer",
        breaks: "S11",
        think: fight_a_writer,
    },
    Mutant {
        name: "looks again without a pause",
        breaks: "L",
        think: hot_loop,
    },
];

pub fn rotation(journal: &Loaded) -> Option<(&Journal, &Rotation)> {
    match journal {
        Loaded::Valid(journal) => Some((journal, journal.rotation.as_ref()?)),
        Loaded::Absent | Loaded::Corrupt(_) => None,
    }
}

pub fn act(phase: Phase, action: Action) -> Decision {
    Decision {
        phase,
        step: Step::Act(action),
    }
}

fn retire(policy: &Policy, journal: &Loaded, phase: Phase) -> Option<Decision> {
    let (_, rotation) = rotation(journal)?;
    Some(act(
        phase,
        Action::Retire {
            user: rotation.retiring.clone(),
            mode: policy.retire.mode,
        },
    ))
}

fn always_immediate(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let rotate_mode = Ok(RotateMode::Immediate);
    let policy = policy.clone();
    decide(
        &Policy {
            rotate_mode,
            ..policy
        },
        journal,
        facts,
        now,
    )
}

fn verifier_first(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let right = decide(policy, journal, facts, now);
    match &right.step {
        Step::Act(Action::Record {
            entry: Entry::Stage,
            next,
        }) if !facts.altered => {
            let user = next.rotation.as_ref().unwrap().pending.clone();
            act(right.phase, Action::SetVerifier { user })
        }
        _ => right,
    }
}

fn retire_before_drain(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let right = decide(policy, journal, facts, now);
    match right.step {
        Step::Look(Query::Sessions) => retire(policy, journal, right.phase).unwrap_or(right),
        _ => right,
    }
}

fn retire_with_pods(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let right = decide(policy, journal, facts, now);
    match &right.step {
        Step::Wait { .. } if right.phase == Phase::Restarted => {
            retire(policy, journal, right.phase).unwrap_or(right)
        }
        _ => right,
    }
}

fn forget_terminating_pods(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let mut facts = facts.clone();
    for consumer in facts.consumers.iter_mut().flatten() {
        consumer.old_pods.retain(|pod| !pod.ends_with(TERMINATING));
    }
    decide(policy, journal, &facts, now)
}

fn one_quiet_poll(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let mut facts = facts.clone();
    if let Some(Sessions::Counted {
        quiet: Some(quiet), ..
    }) = &mut facts.sessions
    {
        quiet.polls = 99;
    }
    decide(policy, journal, &facts, now)
}

fn trust_the_record(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let mut facts = facts.clone();
    if rotation(journal).is_some_and(|(_, rotation)| rotation.rolled_out_at.is_some()) {
        facts.consumers = Some(Vec::new());
    }
    decide(policy, journal, &facts, now)
}

/// A rollout counts as done as soon as there is a new pod; those that are still to end are in no counter.
fn count_the_new(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let mut facts = facts.clone();
    for consumer in facts.consumers.iter_mut().flatten() {
        if consumer.marked && consumer.ready > 0 {
            consumer.old_pods.clear();
        }
    }
    decide(policy, journal, &facts, now)
}

fn flip_unproven(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let right = decide(policy, journal, facts, now);
    match (&right.step, &facts.secret) {
        (
            Step::Look(Query::Pending),
            Some(SecretSeen::Present {
                carries_pending: false,
                version,
                ..
            }),
        ) => act(
            right.phase,
            Action::Flip {
                version: version.clone(),
            },
        ),
        _ => right,
    }
}

fn trust_the_answer(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let right = decide(policy, journal, facts, now);
    match (&right.step, &facts.secret) {
        (
            Step::Look(Query::Pending),
            Some(SecretSeen::Present {
                carries_pending: false,
                version,
                ..
            }),
        ) if facts.altered => act(
            right.phase,
            Action::Flip {
                version: version.clone(),
            },
        ),
        _ => right,
    }
}

fn restart_first(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let right = decide(policy, journal, facts, now);
    if !matches!(right.step, Step::Act(Action::Flip { .. })) {
        return right;
    }
    match &facts.consumers {
        None => Decision {
            phase: right.phase,
            step: Step::Look(Query::Consumers),
        },
        Some(consumers) => match consumers.iter().find(|consumer| !consumer.marked) {
            Some(next) => {
                let (consumer, uid) = (next.reference.clone(), next.uid.clone());
                let form = next.restarter;
                act(right.phase, Action::Restart { consumer, uid, form })
            }
            None => right,
        },
    }
}

fn fight(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let mut facts = facts.clone();
    for consumer in facts.consumers.iter_mut().flatten() {
        consumer.reverted = false;
    }
    decide(policy, journal, &facts, now)
}

fn fight_a_writer(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let right = decide(policy, journal, facts, now);
    match &right.step {
        Step::Wait {
            why: Waiting::Drift(Drift::ActiveRefused { user, .. }),
            ..
        } if !facts.altered => act(right.phase, Action::SetVerifier { user: user.clone() }),
        _ => right,
    }
}

fn fresh_number(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let right = decide(policy, journal, facts, now);
    match (&right.step, rotation(journal)) {
        (Step::Act(Action::SetVerifier { .. }), Some((journal, _)))
            if facts.pending == Some(Login::WrongPassword) =>
        {
            let mut next = journal.clone();
            next.number += 1;
            act(
                right.phase,
                Action::Record {
                    entry: Entry::Stage,
                    next: Box::new(next),
                },
            )
        }
        _ => right,
    }
}

fn ignore_suspension(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let mut policy = policy.clone();
    policy.suspended = false;
    decide(&policy, journal, facts, now)
}

fn no_second_proof(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let mut facts = facts.clone();
    let carried = matches!(
        facts.secret,
        Some(SecretSeen::Present {
            carries_pending: true,
            ..
        })
    );
    if let (true, Some(identity)) = (
        carried,
        rotation(journal).and_then(|(_, rotation)| rotation.identity.clone()),
    ) {
        facts.pending = Some(Login::Accepted(identity));
    }
    decide(policy, journal, &facts, now)
}

fn retire_the_wrong_one(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let right = decide(policy, journal, facts, now);
    match (&right.step, rotation(journal)) {
        (Step::Act(Action::Retire { mode, .. }), Some((_, rotation))) => act(
            right.phase,
            Action::Retire {
                user: rotation.pending.clone(),
                mode: *mode,
            },
        ),
        _ => right,
    }
}

fn ignore_the_mark(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let mut facts = facts.clone();
    if rotation(journal).is_none()
        && let Some(SecretSeen::Present { delivered, .. }) = &mut facts.secret
    {
        *delivered = None;
    }
    decide(policy, journal, &facts, now)
}

fn finish_unproven(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let mut facts = facts.clone();
    facts.previous = Some(Previous::Refused);
    decide(policy, journal, &facts, now)
}

fn claim_rolled_out(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let mut facts = facts.clone();
    for consumer in facts.consumers.iter_mut().flatten() {
        consumer.old_pods.clear();
    }
    decide(policy, journal, &facts, now)
}

fn forget_the_nonce(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let mut right = decide(policy, journal, facts, now);
    if let Step::Act(Action::Record {
        entry: Entry::Stage,
        next,
    }) = &mut right.step
    {
        next.handled = None;
    }
    right
}

fn hot_loop(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let mut right = decide(policy, journal, facts, now);
    if let Step::Wait { until, .. } = &mut right.step {
        *until = (*until).min(now);
    }
    right
}
