//! The heart: from what is written, remembered and seen to the one thing to do next.
//!
//! Every pass begins with nothing but the journal. What has been done is found out by looking (does the pending
//! password log in? does the Secret carry it? are the pods new?), so a crash between any two writes, and a write
//! whose answer was lost, are the same case as an ordinary pass.

use jiff::{SignedDuration, Timestamp};

use super::facts::{
    Consumer, Facts, Finding, Identity, Login, Preflight, Previous, Refused, SecretSeen, Sessions,
};
use super::journal::{Finished, Journal, Loaded, Rotation, ScheduleMark, Trigger};
use super::phase::Phase;
use super::step::{Action, Behind, Decision, Entry, Query, Step, Waiting};
use crate::api::spec::{OnActiveSessions, RestartMode};
use crate::policy::Policy;
use crate::policy::schedule::Due;
use crate::policy::target::{ConsumerKind, RoleName};

/// Quiet polls in a row that prove a drain, however short the quiet time.
pub const QUIET_POLLS: u32 = 3;
/// Passwords that are tried before the server's policy is reported as unpassable.
pub const MAX_REJECTED: u32 = 5;
/// How often a policy with nothing to do has its preflight looked at again.
const RECHECK: SignedDuration = SignedDuration::from_hours(12);
/// How soon a failed preflight is looked at again.
const PREFLIGHT_RETRY: SignedDuration = SignedDuration::from_secs(15);
/// How soon a state that only a person can mend is looked at again; an edit of the policy wakes it at once.
const SLOW: SignedDuration = SignedDuration::from_mins(1);

/// The one thing to do next. Total and pure: the same inputs give the same answer.
#[must_use]
pub fn decide(policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
    let decision = match journal {
        Loaded::Corrupt(flaw) => wait(
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
    let Some(secret) = &facts.secret else {
        return look(Phase::Idle, Query::Secret);
    };
    if let Some(finding) = refused(facts) {
        return wait(
            Phase::Idle,
            later(now, PREFLIGHT_RETRY),
            Waiting::Refused(finding),
        );
    }
    let mut next = Journal::new(&policy.uid);
    next.schedule = schedule_mark(policy, now);
    // A lost journal before the flip leaves no trace and needs none: the standby simply gets another password. After
    // it, the Secret's mark says that a rotation of this policy delivered what is there; whether that rotation ended
    // is not known, and doing its rest again does no harm.
    let lost = match secret {
        SecretSeen::Present {
            user: Some(user),
            delivered: Some(delivered),
            ..
        } => policy.pair.other(user).map(|other| (user, other, delivered)),
        SecretSeen::Present { user: None, .. }
        | SecretSeen::Present { delivered: None, .. }
        | SecretSeen::Missing => None,
    };
    if let SecretSeen::Present {
        delivered: Some(delivered),
        ..
    } = secret
    {
        next.number = delivered.number;
    }
    let Some((active, other, delivered)) = lost else {
        return act(
            Phase::Idle,
            Action::Record {
                entry: Entry::Adopt,
                next: Box::new(next),
            },
        );
    };
    // A rotation has a number, whatever a hand has written on the Secret; without one the journal would be refused.
    next.number = next.number.max(1);
    next.handled.clone_from(&delivered.nonce);
    next.rotation = Some(Rotation {
        trigger: Trigger::Recovery,
        started_at: now,
        spec: policy.snapshot.clone(),
        pending: active.clone(),
        retiring: other.clone(),
        identity: None,
        rejected: 0,
        rolled_out_at: None,
    });
    act(
        Phase::Delivered,
        Action::Record {
            entry: Entry::Recover,
            next: Box::new(next),
        },
    )
}

/// No rotation runs. One begins when somebody or the schedule asks for it and preflight finds nothing in its way.
fn idle(policy: &Policy, journal: &Journal, facts: &Facts, now: Timestamp) -> Decision {
    let text = |mark: &ScheduleMark| mark.text.clone();
    if let Some(finding) = refused(facts) {
        return wait(
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
        return act(
            Phase::Idle,
            Action::Record {
                entry: Entry::Reschedule,
                next: Box::new(next),
            },
        );
    }
    let Some(secret) = &facts.secret else {
        return look(Phase::Idle, Query::Secret);
    };
    if let Some(flaw) = outdated(journal, secret) {
        return wait(Phase::Idle, later(now, SLOW), Waiting::JournalCorrupt(flaw));
    }
    let (trigger, scheduled) = due(policy, journal, now);
    let Some(preflight) = &facts.preflight else {
        return look(Phase::Idle, Query::Preflight);
    };
    let (Some(active), true) = (&preflight.active, preflight.passed()) else {
        return wait(
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
    let opens = policy.schedule.as_ref().map_or(now, |s| s.opens(now));
    if opens > now {
        return wait(Phase::Prepared, opens, Waiting::Window(opens));
    }
    stage(policy, journal, preflight, active, trigger, now)
}

/// A journal that knows less than the Secret was restored from an old backup, or was begun afresh by mistake. Pods may
/// still hold the password that its next rotation would replace.
fn outdated(journal: &Journal, secret: &SecretSeen) -> Option<String> {
    let SecretSeen::Present {
        delivered: Some(delivered),
        ..
    } = secret
    else {
        return None;
    };
    (delivered.number > journal.number).then(|| {
        format!(
            "it ends with rotation {}, and the application Secret was delivered by rotation {}",
            journal.number, delivered.number
        )
    })
}

fn stage(
    policy: &Policy,
    journal: &Journal,
    preflight: &Preflight,
    active: &RoleName,
    trigger: Trigger,
    now: Timestamp,
) -> Decision {
    let Some(standby) = policy.pair.other(active) else {
        return wait(
            Phase::Idle,
            later(now, SLOW),
            Waiting::SecretChanged(Some(active.clone())),
        );
    };
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
        started_at: now,
        spec: policy.snapshot.clone(),
        pending: standby.clone(),
        retiring: active.clone(),
        identity: preflight.identity.clone(),
        rejected: 0,
        rolled_out_at: None,
    });
    act(
        Phase::Prepared,
        Action::Record {
            entry: Entry::Stage,
            next: Box::new(next),
        },
    )
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

fn schedule_mark(policy: &Policy, since: Timestamp) -> Option<ScheduleMark> {
    policy.schedule.as_ref().map(|schedule| ScheduleMark {
        text: schedule.text().to_owned(),
        since,
    })
}

/// One pass over a running rotation.
struct Pass<'a> {
    /// Parsed from the rotation's own snapshot.
    policy: &'a Policy,
    journal: &'a Journal,
    rotation: &'a Rotation,
    facts: &'a Facts,
    now: Timestamp,
}

impl Pass<'_> {
    /// Which side of the flip are we on? Only the application Secret knows.
    fn rotate(&self) -> Decision {
        let secret = self.facts.secret.as_ref();
        if let Some(flaw) = secret.and_then(|secret| outdated(self.journal, secret)) {
            return wait(
                Phase::Staged,
                later(self.now, SLOW),
                Waiting::JournalCorrupt(flaw),
            );
        }
        match &self.facts.secret {
            None => look(Phase::Staged, Query::Secret),
            Some(SecretSeen::Missing) => self.wait(Phase::Staged, Waiting::SecretMissing),
            Some(SecretSeen::Present {
                carries_pending: true,
                delivered: Some(delivered),
                ..
            }) if delivered.number == self.journal.number => self.after_flip(delivered.at),
            // The credential is there, and its mark is not: somebody took it away. Only the mark tells which pods are
            // younger, so it is put back with a delivery of its own.
            Some(SecretSeen::Present {
                carries_pending: true,
                version,
                ..
            }) => self.flip(Phase::Delivered, version),
            Some(SecretSeen::Present {
                user: Some(user),
                version,
                ..
            }) if *user == self.rotation.retiring => self.before_flip(version),
            // The standby's name with a password that is not ours, a stranger, or nobody: somebody else wrote it.
            // Whatever we did now could be wrong, and both passwords of the pair are still valid.
            Some(SecretSeen::Present { user, .. }) => {
                self.wait(Phase::Staged, Waiting::SecretChanged(user.clone()))
            }
        }
    }

    fn before_flip(&self, version: &str) -> Decision {
        if let Some(stop) = self.login(if self.facts.altered {
            Phase::Altered
        } else {
            Phase::Staged
        }) {
            return stop;
        }
        let opens = self
            .policy
            .schedule
            .as_ref()
            .map_or(self.now, |s| s.opens(self.now));
        if opens > self.now {
            return wait(Phase::Verified, opens, Waiting::Window(opens));
        }
        self.flip(Phase::Verified, version)
    }

    fn flip(&self, phase: Phase, version: &str) -> Decision {
        if let Some(stop) = self.login(phase) {
            return stop;
        }
        if let Some(finding) = refused(self.facts) {
            return self.wait(phase, Waiting::Refused(finding));
        }
        act(
            phase,
            Action::Flip {
                version: version.to_owned(),
            },
        )
    }

    /// Nothing, when the pending credential is proven; else what is to be done for it. The same on both sides of the
    /// flip: a failover can lose the change at any time, and until the rotation ends the journal can make it good.
    fn login(&self, phase: Phase) -> Option<Decision> {
        let set = || Action::SetVerifier {
            user: self.rotation.pending.clone(),
        };
        if !self.facts.altered
            && let Some(refused) = &self.facts.refused
            && !matches!(self.facts.pending, Some(Login::Accepted(_)))
        {
            return Some(self.refused_verifier(phase, refused));
        }
        match &self.facts.pending {
            None => Some(look(phase, Query::Pending)),
            // Setting it a second time in one turn would only hide that somebody else sets it too (R14).
            Some(Login::WrongPassword) if self.facts.altered => Some(self.wait(phase, Waiting::NotAccepted)),
            Some(Login::NotYet | Login::WrongPassword) => Some(act(phase, set())),
            Some(Login::Refused(finding)) => Some(self.wait(phase, Waiting::Refused(finding.clone()))),
            Some(Login::Accepted(found)) => self.other_server(found).map(|why| self.wait(phase, why)),
        }
    }

    fn refused_verifier(&self, phase: Phase, refused: &Refused) -> Decision {
        match refused {
            Refused::Otherwise(finding) => self.wait(phase, Waiting::Refused(finding.clone())),
            // Another password is possible only while nobody has been told this one.
            Refused::Password(_)
                if phase < Phase::Delivered && self.rotation.rejected.saturating_add(1) < MAX_REJECTED =>
            {
                let rotation = Rotation {
                    rejected: self.rotation.rejected.saturating_add(1),
                    ..self.rotation.clone()
                };
                act(phase, self.record(Entry::Regenerate, Some(rotation)))
            }
            Refused::Password(finding) => self.wait(phase, Waiting::PasswordsRejected(finding.clone())),
        }
    }

    /// A promotion keeps the system and is harmless, since the login has just been proven on the new primary. Another
    /// system is another cluster or a restore, and only a person knows which of the two is meant (R22).
    fn other_server(&self, found: &Identity) -> Option<Waiting> {
        let expected = self.rotation.identity.as_ref()?;
        (expected.system != found.system).then(|| Waiting::OtherServer {
            expected: expected.system.clone(),
            found: found.system.clone(),
        })
    }

    fn after_flip(&self, delivered_at: Timestamp) -> Decision {
        if let Some(stop) = self.login(Phase::Delivered) {
            return stop;
        }
        if let Some(finding) = refused(self.facts) {
            return self.wait(Phase::Delivered, Waiting::Refused(finding));
        }
        if self.facts.retired {
            return self.prove_retired();
        }
        // Looked at in every pass, also after the rollout was recorded: a rollback by hand brings old pods back.
        if self.policy.restart.mode != RestartMode::None {
            match &self.facts.consumers {
                None => return look(Phase::Delivered, Query::Consumers),
                Some(consumers) => {
                    if let Some(stop) = self.roll_out(consumers, delivered_at) {
                        return stop;
                    }
                }
            }
        }
        let Some(rolled_out_at) = self.rotation.rolled_out_at else {
            let rotation = Rotation {
                rolled_out_at: Some(self.now),
                ..self.rotation.clone()
            };
            return act(Phase::RolledOut, self.record(Entry::RollOut, Some(rotation)));
        };
        self.drain(rolled_out_at)
    }

    /// Nothing, when no pod can hold the old credential; else the next restart, or what is waited for.
    fn roll_out(&self, consumers: &[Consumer], delivered_at: Timestamp) -> Option<Decision> {
        let behind: Vec<&Consumer> = consumers.iter().filter(|c| !c.old_pods.is_empty()).collect();
        if behind.is_empty() {
            return None;
        }
        let rolling = behind.iter().filter(|c| c.marked).count();
        let unmarked = behind
            .iter()
            .find(|c| !c.marked && matches!(c.reference.kind, ConsumerKind::Workload(_)));
        let phase = if unmarked.is_some() {
            Phase::Delivered
        } else {
            Phase::Restarted
        };
        match unmarked {
            Some(next) if rolling < self.policy.restart.max_concurrent => Some(act(
                phase,
                Action::Restart {
                    consumer: next.reference.clone(),
                    uid: next.uid.clone(),
                },
            )),
            Some(_) | None => {
                let overdue = self.now.duration_since(delivered_at) > self.policy.restart.timeout;
                let behind = behind
                    .iter()
                    .map(|c| Behind {
                        consumer: c.reference.clone(),
                        old_pods: c.old_pods.clone(),
                        obstacle: c.obstacle.clone(),
                    })
                    .collect();
                let until = later(self.now, pace(self.now.duration_since(delivered_at)));
                Some(wait(phase, until, Waiting::Rollout { behind, overdue }))
            }
        }
    }

    fn drain(&self, rolled_out_at: Timestamp) -> Decision {
        let phase = Phase::RolledOut;
        let keep_until = later(rolled_out_at, self.policy.retire.after);
        if keep_until > self.now {
            return wait(phase, keep_until, Waiting::RetireAfter(keep_until));
        }
        let (laggards, quiet) = match &self.facts.sessions {
            None => return look(phase, Query::Sessions),
            Some(Sessions::Unreachable(finding)) => {
                return self.wait(phase, Waiting::Refused(finding.clone()));
            }
            Some(Sessions::Counted { laggards, quiet }) => (laggards, quiet),
        };
        let terminates = self.policy.drain.on_active == OnActiveSessions::Terminate;
        let overdue = self.now.duration_since(rolled_out_at) > self.policy.drain.timeout;
        let poll = later(self.now, poll_interval(self.policy.drain.quiet_for));
        if self.facts.terminated {
            // Connection pools come back at once, for as long as the password works. Waiting for quiet would have no
            // end; the deadline that the policy sets is this one.
            return self.retire();
        }
        if !laggards.is_empty() {
            if overdue && terminates {
                return act(phase, self.terminate());
            }
            return wait(
                phase,
                poll,
                Waiting::Sessions {
                    laggards: laggards.clone(),
                    overdue,
                },
            );
        }
        let over = quiet
            .as_ref()
            .filter(|quiet| quiet.polls >= QUIET_POLLS)
            .map(|quiet| later(quiet.since, self.policy.drain.quiet_for));
        if over.is_none_or(|over| over > self.now) {
            // Not later than the quiet time ends, when there have been polls enough.
            let until = over.map_or(poll, |over| poll.min(over));
            return wait(phase, until, Waiting::Quiet);
        }
        self.retire()
    }

    fn terminate(&self) -> Action {
        Action::Terminate {
            user: self.rotation.retiring.clone(),
        }
    }

    fn retire(&self) -> Decision {
        // The active credential was proven in this very pass: never retire one user unless the other works now.
        let user = self.rotation.retiring.clone();
        act(
            Phase::Drained,
            Action::Retire {
                user,
                mode: self.policy.retire.mode,
            },
        )
    }

    /// The retiring verifier was accepted in this turn. That is no proof yet (R5): the old password must be refused.
    fn prove_retired(&self) -> Decision {
        match &self.facts.previous {
            None => look(Phase::Drained, Query::Previous),
            Some(Previous::Unreachable(finding)) => {
                self.wait(Phase::Drained, Waiting::Refused(finding.clone()))
            }
            Some(Previous::Accepted) => self.wait(Phase::Drained, Waiting::NotRetired),
            Some(Previous::Refused | Previous::Unknown) => self.finish(),
        }
    }

    /// Sessions that were opened between their end and the change of the password have to go too, when there is to be
    /// an end to them at all.
    fn finish(&self) -> Decision {
        if self.policy.drain.on_active == OnActiveSessions::Terminate && !self.facts.terminated {
            match &self.facts.sessions {
                None => return look(Phase::Retired, Query::Sessions),
                Some(Sessions::Counted { laggards, .. }) if !laggards.is_empty() => {
                    return act(Phase::Retired, self.terminate());
                }
                Some(Sessions::Counted { .. }) => {}
                Some(Sessions::Unreachable(finding)) => {
                    return self.wait(Phase::Retired, Waiting::Refused(finding.clone()));
                }
            }
        }
        act(Phase::Retired, self.record(Entry::Finish, None))
    }

    fn record(&self, entry: Entry, rotation: Option<Rotation>) -> Action {
        let mut next = self.journal.clone();
        if rotation.is_none() {
            let finished = Finished {
                number: self.journal.number,
                trigger: self.rotation.trigger.clone(),
                user: self.rotation.pending.clone(),
                started_at: self.rotation.started_at,
                finished_at: self.now,
                rolled_out_at: self.rotation.rolled_out_at,
            };
            next.history.insert(0, finished);
            // The last one is kept whatever the limit: status.lastRotation comes from it.
            next.history.truncate(self.policy.history_limit.max(1));
        }
        next.rotation = rotation;
        Action::Record {
            entry,
            next: Box::new(next),
        }
    }

    fn wait(&self, phase: Phase, why: Waiting) -> Decision {
        wait(
            phase,
            later(self.now, pace(self.now.duration_since(self.rotation.started_at))),
            why,
        )
    }
}

fn refused(facts: &Facts) -> Option<Finding> {
    facts.refused.as_ref().map(|refused| match refused {
        Refused::Password(finding) | Refused::Otherwise(finding) => finding.clone(),
    })
}

/// How long to wait before looking again: the longer it has taken, the longer.
fn pace(elapsed: SignedDuration) -> SignedDuration {
    if elapsed < SignedDuration::from_mins(1) {
        SignedDuration::from_millis(500)
    } else if elapsed < SignedDuration::from_mins(10) {
        SignedDuration::from_secs(5)
    } else {
        SignedDuration::from_secs(30)
    }
}

/// At least four polls in the quiet time, and never a longer gap than a quarter of a minute: what comes and goes
/// between two polls is not seen.
#[must_use]
pub fn poll_interval(quiet_for: SignedDuration) -> SignedDuration {
    (quiet_for / 4).clamp(SignedDuration::from_millis(250), SignedDuration::from_secs(15))
}

/// The end of time, where there is no later one.
fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

fn look(phase: Phase, query: Query) -> Decision {
    Decision {
        phase,
        step: Step::Look(query),
    }
}

fn act(phase: Phase, action: Action) -> Decision {
    Decision {
        phase,
        step: Step::Act(action),
    }
}

fn wait(phase: Phase, until: Timestamp, why: Waiting) -> Decision {
    Decision {
        phase,
        step: Step::Wait { until, why },
    }
}
