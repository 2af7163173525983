//! The heart: from what is written, remembered and seen to the one thing to do next. Here is what begins a rotation;
//! `rotation.rs` is what one does.
//!
//! Every pass begins with nothing but the journal. What has been done is found out by looking (does the pending
//! password log in? does the Secret carry it? are the pods new?), so a crash between any two writes, and a write
//! whose answer was lost, are the same case as an ordinary pass.

use jiff::{SignedDuration, Timestamp};

use super::facts::{Facts, Finding, Identity, Refused, SecretSeen, StoreSeen};
use super::journal::{Journal, Loaded, Rotation, ScheduleMark, Trigger};
use super::pace::{SLOW, later};
use super::phase::Phase;
use super::place::Place;
use super::rotation::{Pass, outdated};
use super::step::{Action, Decision, Entry, Query, Step, Waiting};
use crate::policy::schedule::Due;
use crate::policy::target::RoleName;
use crate::policy::{Policy, RotateMode};

/// Passwords that are tried before the server's policy is reported as unpassable.
pub const MAX_REJECTED: u32 = 5;
/// How often a policy with nothing to do has its preflight looked at again.
const RECHECK: SignedDuration = SignedDuration::from_hours(12);
/// How soon a failed preflight is looked at again.
const PREFLIGHT_RETRY: SignedDuration = SignedDuration::from_secs(15);

/// How soon to look whether the journals have been read that a fresh start must know.
const JOURNALS: SignedDuration = SignedDuration::from_secs(2);

/// The one thing to do next. Total and pure: the same inputs give the same answer.
#[must_use]
pub fn decide(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let decision = match journal {
        Loaded::Corrupt(flaw) => Decision::wait(
            Phase::Idle,
            later(now, SLOW),
            Waiting::JournalCorrupt(flaw.clone()),
        ),
        Loaded::Absent => adopt(policy, facts, now),
        Loaded::Valid(journal) => match &journal.rotation {
            None => idle(policy, journal, facts, now),
            Some(rotation) => Pass {
                policy,
                journal,
                rotation,
                facts,
                now,
            }
            .rotate(),
        },
    };
    hold(policy, decision)
}

/// Suspension and deletion are honoured here, once, before every side effect there is.
fn hold(policy: &Policy, decision: Decision) -> Decision {
    let Decision { phase, step } = decision;
    let step = match step {
        Step::Act(_) | Step::Wait { .. } if policy.deleting => Step::Rest { next: None },
        Step::Act(_) | Step::Wait { .. } | Step::Rest { .. } if policy.suspended => Step::Wait {
            until: Timestamp::MAX,
            why: Waiting::Suspended,
        },
        step @ (Step::Look(_) | Step::Act(_) | Step::Wait { .. } | Step::Rest { .. }) => step,
    };
    Decision { phase, step }
}

/// A policy without a journal is new, or its journal was lost.
fn adopt(policy: &Policy, facts: &Facts, now: Timestamp) -> Decision {
    let remains = match remains(policy, facts) {
        Ok(remains) => remains,
        Err(query) => return Decision::look(Phase::Idle, query),
    };
    // Where the store cannot be read, nobody can tell whether a rotation had come that far.
    let unusable = match &facts.store {
        Some(StoreSeen::Unusable(finding)) => Some(finding.clone()),
        Some(StoreSeen::Present { .. }) | None => None,
    };
    if let Some(finding) = refused(facts).or(unusable) {
        let until = later(now, PREFLIGHT_RETRY);
        return Decision::wait(Phase::Idle, until, Waiting::Refused(finding));
    }
    let mut next = Journal::new(&policy.uid);
    next.schedule = schedule_mark(policy, now);
    // Whatever asks to give up a rotation speaks of one that nothing is known of any more.
    next.aborted.clone_from(&policy.abort);
    // A lost journal before the flip leaves no trace and needs none: the standby simply gets another password. After
    // it, the source of truth says that a rotation of this policy made what is there; whether that rotation ended
    // is not known, and doing its rest again does no harm.
    let Some(remains) = remains else {
        return record(Phase::Idle, Entry::Adopt, next);
    };
    // A rotation has a number, whatever a hand has written on the Secret; without one the journal would be refused.
    next.number = remains.number;
    let pair = remains
        .user
        .and_then(|active| Some((active, policy.pair.other(active)?)));
    let Some((active, other)) = pair else {
        return record(Phase::Idle, Entry::Adopt, next);
    };
    next.number = next.number.max(1);
    next.handled = remains.handled;
    next.rotation = Some(Rotation {
        trigger: Trigger::Recovery,
        mode: RotateMode::Graceful,
        started_at: now,
        spec: policy.snapshot.clone(),
        pending: active.clone(),
        retiring: other.clone(),
        identity: None,
        staged_at: None,
        undoes: None,
        rejected: 0,
        delivered: None,
        first: None,
        rolled_out_at: None,
    });
    record(Phase::Delivered, Entry::Recover, next)
}

/// What the source of truth still says of a rotation whose journal is lost.
struct Remains<'a> {
    number: u64,
    user: Option<&'a RoleName>,
    handled: Option<String>,
}

/// What remains, if anything; or the question that must be asked first.
fn remains<'a>(policy: &Policy, facts: &'a Facts) -> Result<Option<Remains<'a>>, Query> {
    if policy.delivery.source().is_some() {
        return match facts.store.as_ref().ok_or(Query::Store)? {
            StoreSeen::Present {
                user,
                number: Some(number),
                ..
            } => Ok(Some(Remains {
                number: *number,
                user: user.as_ref(),
                // The store keeps no rotate-now value. Whatever asks now has most likely been answered, and can be
                // asked again.
                handled: policy.rotate_now.clone(),
            })),
            StoreSeen::Present { number: None, .. } | StoreSeen::Unusable(_) => Ok(None),
        };
    }
    match facts.secret.as_ref().ok_or(Query::Secret)? {
        SecretSeen::Present {
            user,
            delivered: Some(delivered),
            ..
        } => Ok(Some(Remains {
            number: delivered.number,
            user: user.as_ref(),
            handled: delivered.nonce.clone(),
        })),
        SecretSeen::Present { delivered: None, .. } | SecretSeen::Missing => Ok(None),
    }
}

/// No rotation runs. One begins when somebody or the schedule asks for it and preflight finds nothing in its way.
fn idle(policy: &Policy, journal: &Journal, facts: &Facts, now: Timestamp) -> Decision {
    let text = |mark: &ScheduleMark| mark.text.clone();
    if let Some(finding) = refused(facts) {
        return Decision::wait(
            Phase::Idle,
            later(now, PREFLIGHT_RETRY),
            Waiting::Refused(finding),
        );
    }
    if policy.schedule.as_ref().map(|s| s.text().to_owned()) != journal.schedule.as_ref().map(text) {
        let next = Journal {
            schedule: schedule_mark(policy, now),
            ..journal.clone()
        };
        return Decision::act(
            Phase::Idle,
            Action::Record {
                entry: Entry::Reschedule,
                next: Box::new(next),
            },
        );
    }
    let delivered = match remains(policy, facts) {
        Ok(remains) => remains.map_or(0, |remains| remains.number),
        Err(query) => return Decision::look(Phase::Idle, query),
    };
    if delivered > journal.number {
        let what = match policy.delivery.source() {
            Some(_) => "secret in the store",
            None => "application Secret",
        };
        let flaw = outdated(journal, what, delivered);
        return Decision::wait(Phase::Idle, later(now, SLOW), Waiting::JournalCorrupt(flaw));
    }
    let (trigger, scheduled) = due(policy, journal, now);
    if let Some(value) = asked_to_abort(policy, journal) {
        return call_off(policy, journal, value, trigger.as_ref(), now);
    }
    // An emergency waits for no window and for no other policy.
    let mode = match &trigger {
        Some(Trigger::RotateNow(_)) => match &policy.rotate_mode {
            Ok(mode) => *mode,
            Err(text) => {
                return Decision::wait(Phase::Idle, later(now, SLOW), Waiting::UnknownMode(text.clone()));
            }
        },
        Some(_) | None => RotateMode::Graceful,
    };
    let schedule = policy.schedule.as_ref().filter(|_| mode == RotateMode::Graceful);
    let opens = schedule.map_or(now, |s| s.opens(now));
    if trigger.is_some()
        && mode == RotateMode::Graceful
        && opens <= now
        && let Some(stop) = without_place(policy, facts, now)
    {
        return stop;
    }
    let Some(preflight) = &facts.preflight else {
        return Decision::look(Phase::Idle, Query::Preflight);
    };
    let (Some(active), true) = (&preflight.active, preflight.passed()) else {
        return Decision::wait(
            Phase::Idle,
            later(now, PREFLIGHT_RETRY),
            Waiting::Preflight(preflight.findings.clone()),
        );
    };
    let Some(trigger) = trigger else {
        let recheck = later(now, RECHECK);
        return Decision {
            phase: Phase::Idle,
            step: Step::Rest {
                next: Some(scheduled.map_or(recheck, |s| s.min(recheck))),
            },
        };
    };
    if opens > now {
        return Decision::wait(Phase::Prepared, opens, Waiting::Window(opens));
    }
    let begin = Begin {
        trigger,
        mode,
        active: active.clone(),
        identity: preflight.identity.clone(),
    };
    stage(policy, journal, facts, begin, now)
}

/// Nothing, when a rotation may begin beside those of other policies. It is asked before preflight, so that those who
/// wait leave the server alone, and not for a policy that may do nothing: it would only stand in the way.
fn without_place(policy: &Policy, facts: &Facts, now: Timestamp) -> Option<Decision> {
    if policy.suspended || policy.deleting {
        return None;
    }
    let wait = |pause, why| Some(Decision::wait(Phase::Idle, later(now, pause), why));
    match &facts.place {
        None => Some(Decision::look(Phase::Idle, Query::Place)),
        Some(Place::Had) => None,
        // Its turn is called; looked at again all the same, for people to read who is before it.
        Some(Place::Taken(taken)) => wait(SLOW, Waiting::Place(taken.clone())),
        Some(Place::Unread(policies)) => wait(JOURNALS, Waiting::Journals(*policies)),
    }
}

/// A rotation that may begin.
struct Begin {
    trigger: Trigger,
    mode: RotateMode,
    active: RoleName,
    identity: Option<Identity>,
}

fn stage(policy: &Policy, journal: &Journal, facts: &Facts, begin: Begin, now: Timestamp) -> Decision {
    let Begin {
        trigger,
        mode,
        active,
        identity,
    } = begin;
    let Some(standby) = policy.pair.other(&active) else {
        return Decision::wait(
            Phase::Idle,
            later(now, SLOW),
            Waiting::SecretChanged(Some(active)),
        );
    };
    let standby = standby.clone();
    let mut next = journal.clone();
    // At its end it stands still, by the rule that numbers have no gap, and does not start anew.
    next.number = next.number.saturating_add(1);
    if let Trigger::RotateNow(nonce) = &trigger {
        next.handled = Some(nonce.clone());
    }
    // Whatever started it, a rotation answers every time up to now.
    next.schedule = schedule_mark(policy, now);
    next.rotation = Some(Rotation {
        trigger,
        mode,
        started_at: now,
        spec: policy.snapshot.clone(),
        pending: standby,
        retiring: active,
        identity,
        staged_at: None,
        undoes: None,
        rejected: 0,
        delivered: None,
        first: replaced(facts),
        rolled_out_at: None,
    });
    Decision::act(
        Phase::Prepared,
        Action::Record {
            entry: Entry::Stage,
            next: Box::new(next),
        },
    )
}

/// What the first delivery is made over: the Secret's version as it is seen now. A landing is known by the part of it
/// that counts the versions.
pub(super) fn replaced(facts: &Facts) -> Option<String> {
    match &facts.secret {
        Some(SecretSeen::Present { version, .. }) => {
            let counted = version
                .rsplit_once('/')
                .map_or(version.as_str(), |(_, counted)| counted);
            Some(counted.to_owned())
        }
        Some(SecretSeen::Missing) | None => None,
    }
}

/// What asks for a rotation now, and when the schedule does so next.
fn due(policy: &Policy, journal: &Journal, now: Timestamp) -> (Option<Trigger>, Option<Timestamp>) {
    let since = journal.schedule.as_ref().map(|mark| mark.since);
    let due = policy
        .schedule
        .as_ref()
        .zip(since)
        .map(|(schedule, since)| schedule.due(since, now));
    let (scheduled, later) = match due {
        None => (None, None),
        Some(Due::Later(at)) => (None, Some(at)),
        Some(Due::Now(at)) => (Some(Trigger::Schedule(at)), None),
        Some(Due::Missed(at)) => (Some(Trigger::CatchUp(at)), None),
    };
    let asked = policy
        .rotate_now
        .clone()
        .filter(|nonce| journal.handled.as_ref() != Some(nonce));
    (asked.map(Trigger::RotateNow).or(scheduled), later)
}

/// When the schedule starts the next rotation, for people to read.
#[must_use]
pub fn next_scheduled(policy: &Policy, journal: &Journal, now: Timestamp) -> Option<Timestamp> {
    let since = journal.schedule.as_ref()?.since;
    match policy.schedule.as_ref()?.due(since, now) {
        Due::Later(at) | Due::Now(at) | Due::Missed(at) => Some(at),
    }
}

/// No rotation runs. What asks for one now, and perhaps only waits for its window, is taken back.
fn call_off(
    policy: &Policy,
    journal: &Journal,
    value: &str,
    trigger: Option<&Trigger>,
    now: Timestamp,
) -> Decision {
    let mut next = journal.clone();
    next.aborted = Some(value.to_owned());
    match trigger {
        Some(Trigger::RotateNow(nonce)) => next.handled = Some(nonce.clone()),
        Some(Trigger::Schedule(_) | Trigger::CatchUp(_)) => next.schedule = schedule_mark(policy, now),
        Some(Trigger::Recovery | Trigger::RollBack(_) | Trigger::Abort(_)) | None => {}
    }
    record(Phase::Idle, Entry::CallOff, next)
}

/// The value of the abort annotation, while it has not been answered.
pub(super) fn asked_to_abort<'a>(policy: &'a Policy, journal: &Journal) -> Option<&'a str> {
    policy
        .abort
        .as_deref()
        .filter(|value| journal.aborted.as_deref() != Some(value))
}

pub(super) fn schedule_mark(policy: &Policy, since: Timestamp) -> Option<ScheduleMark> {
    policy.schedule.as_ref().map(|schedule| ScheduleMark {
        text: schedule.text().to_owned(),
        since,
    })
}

/// A write of the journal.
fn record(phase: Phase, entry: Entry, next: Journal) -> Decision {
    let next = Box::new(next);
    Decision::act(phase, Action::Record { entry, next })
}

/// Why the last write of this turn was refused, whatever that says of the password.
pub(super) fn refused(facts: &Facts) -> Option<Finding> {
    facts.refused.as_ref().map(|refused| match refused {
        Refused::Password(finding) | Refused::Otherwise(finding) => finding.clone(),
    })
}
