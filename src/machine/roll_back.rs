//! The way back: a rotation that is given up, by hand or because a rollout failed, is replaced by one in the other
//! direction. That one delivers a credential which is proven already, and otherwise goes through the same phases.

use super::decide::{asked_to_abort, refused, replaced, schedule_mark};
use super::facts::{Consumer, Failing, Finding, Previous, SecretSeen, StoreSeen};
use super::journal::{Finished, Rotation, Trigger, Undone};
use super::phase::Phase;
use super::rotation::Pass;
use super::step::{Action, Decision, Entry, NoWayBack, Query, Waiting};
use crate::api::spec::OnFailure;
use crate::policy::RotateMode;

/// Longest reason that is kept of a failure, in bytes.
const MAX_REASON: usize = 256;

/// Whether the credential from before can be put back.
enum WayBack {
    /// It logs in.
    Open,
    /// It never can.
    None(NoWayBack),
    /// This must be asked first.
    Ask(Query),
    /// The server could not be asked.
    Unreachable(Finding),
}

impl Pass<'_> {
    /// Nothing, unless somebody asks to give this rotation up.
    ///
    /// That it has not reached the applications yet does not make it simpler: a flip that was given up may still be on
    /// its way to the API server. So the credential from before is delivered once more in any case, which such a flip
    /// cannot follow.
    pub(super) fn abort(&self) -> Option<Decision> {
        let value = asked_to_abort(self.policy, self.journal)?;
        let (phase, delivered) = match &self.facts.secret {
            None => return Some(Decision::look(Phase::Staged, Query::Secret)),
            Some(SecretSeen::Present {
                carries_pending: true,
                ..
            }) => (Phase::Delivered, None),
            Some(SecretSeen::Present { delivered, .. }) => (
                Phase::Staged,
                delivered.as_ref().map(|delivered| delivered.number),
            ),
            Some(SecretSeen::Missing) => (Phase::Staged, None),
        };
        let stored = match &self.facts.store {
            None if self.policy.delivery.source().is_some() => {
                return Some(Decision::look(phase, Query::Store));
            }
            Some(StoreSeen::Present { number, .. }) => *number,
            Some(StoreSeen::Unusable(_)) | None => None,
        };
        // Nothing is taken back by a journal that cannot be trusted.
        if delivered.max(stored) > Some(self.journal.number) {
            return None;
        }
        if let Some(finding) = refused(self.facts) {
            return Some(self.wait(phase, Waiting::Refused(finding)));
        }
        Some(match self.way_back() {
            WayBack::Open => self.roll_back(phase, Trigger::Abort(value.to_owned())),
            WayBack::Ask(query) => Decision::look(phase, query),
            WayBack::Unreachable(finding) => self.wait(phase, Waiting::Refused(finding)),
            WayBack::None(_) => {
                let mut next = self.journal.clone();
                next.aborted = Some(value.to_owned());
                let (entry, next) = (Entry::CallOff, Box::new(next));
                Decision::act(phase, Action::Record { entry, next })
            }
        })
    }

    /// Whether a restarted consumer keeps the rotation waiting although no old pod is left. Where a failure is to be rolled
    /// back, the new pods must have come up before the credential from before is given away. From a roll-back no way leads
    /// back, and nothing is waited for.
    pub(super) fn is_waited_for(&self, consumer: &Consumer) -> bool {
        self.may_fail() && self.rotation.undoes.is_none() && consumer.marked && consumer.failing.is_some()
    }

    /// A failure that comes after the rollout has ended is about something else.
    fn may_fail(&self) -> bool {
        match self.policy.restart.on_failure {
            OnFailure::Hold => false,
            OnFailure::RollBack => self.rotation.rolled_out_at.is_none(),
        }
    }

    /// What is to be done about a rollout that has failed: nothing, for a reason if one must be told; or the way back.
    pub(super) fn failed(&self, behind: &[&Consumer], overdue: bool) -> Result<Option<NoWayBack>, Decision> {
        let has_failed = |consumer: &&&Consumer| {
            consumer.marked
                && match consumer.failing {
                    Some(Failing::Failure) => true,
                    Some(Failing::Trouble) => overdue,
                    None => false,
                }
        };
        let Some(failed) = behind.iter().filter(|_| self.may_fail()).find(has_failed) else {
            return Ok(None);
        };
        let phase = Phase::Delivered;
        match self.way_back() {
            WayBack::Open => Err(self.roll_back(phase, Trigger::RollBack(reason(failed)))),
            WayBack::Ask(query) => Err(Decision::look(phase, query)),
            WayBack::Unreachable(finding) => Err(self.wait(phase, Waiting::Refused(finding))),
            WayBack::None(why) => Ok(Some(why)),
        }
    }

    fn way_back(&self) -> WayBack {
        if self.rotation.undoes.is_some() {
            return WayBack::None(NoWayBack::RollBack);
        }
        // A server that lets anybody in would still accept the old password.
        if self.facts.retired {
            return WayBack::None(NoWayBack::Refused);
        }
        match &self.facts.previous {
            None => WayBack::Ask(Query::Previous),
            Some(Previous::Accepted) => WayBack::Open,
            Some(Previous::Refused) => WayBack::None(NoWayBack::Refused),
            Some(Previous::Unknown) => WayBack::None(NoWayBack::Unknown),
            Some(Previous::Unreachable(finding)) => WayBack::Unreachable(finding.clone()),
        }
    }

    /// One write ends this rotation and begins the other. Being the next one, it has marks and names of its own, and
    /// nothing that is still on its way for this one can be taken for it.
    fn roll_back(&self, phase: Phase, trigger: Trigger) -> Decision {
        let mut next = self.journal.clone();
        next.number = next.number.saturating_add(1);
        if let Trigger::Abort(value) = &trigger {
            next.aborted = Some(value.clone());
        }
        // The next scheduled time is the next try; those that have passed meanwhile are not made up for.
        next.schedule = schedule_mark(self.policy, self.now);
        next.remember(self.ended(trigger.undoing()), self.policy.history_limit);
        next.rotation = Some(Rotation {
            trigger,
            mode: RotateMode::Graceful,
            started_at: self.now,
            spec: self.rotation.spec.clone(),
            pending: self.rotation.retiring.clone(),
            retiring: self.rotation.pending.clone(),
            identity: self.rotation.identity.clone(),
            staged_at: None,
            undoes: Some(Undone {
                number: self.journal.number,
                staged_at: self.rotation.staged_at,
            }),
            rejected: 0,
            delivered: None,
            first: replaced(self.facts),
            rolled_out_at: None,
        });
        let (entry, next) = (Entry::RollBack, Box::new(next));
        Decision::act(phase, Action::Record { entry, next })
    }

    /// This rotation, as the history keeps it.
    pub(super) fn ended(&self, undone: Option<String>) -> Finished {
        Finished {
            number: self.journal.number,
            trigger: self.rotation.trigger.clone(),
            user: match undone {
                Some(_) => self.rotation.retiring.clone(),
                None => self.rotation.pending.clone(),
            },
            started_at: self.rotation.started_at,
            finished_at: self.now,
            rolled_out_at: self.rotation.rolled_out_at,
            undone,
        }
    }
}

/// What failed, as the history keeps it.
fn reason(failed: &Consumer) -> String {
    let obstacle = failed.obstacle.as_deref();
    let obstacle = obstacle.unwrap_or("its rollout does not come to an end");
    let text = format!("{}: {obstacle}", failed.reference);
    if text.len() <= MAX_REASON {
        return text;
    }
    let end = text.floor_char_boundary(MAX_REASON - '…'.len_utf8());
    format!("{}…", text.get(..end).unwrap_or_default())
}
