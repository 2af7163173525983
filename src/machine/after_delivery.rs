//! What follows a delivery: the rollout, the drain, the retirement of the old user and the end of the rotation.

use jiff::Timestamp;

use super::decide::refused;
use super::facts::{Consumer, Finding, Previous, Restarter, Sessions, StoreSeen};
use super::journal::{Landing, Rotation};
use super::pace::{grace, later, pace, poll_interval};
use super::phase::Phase;
use super::rotation::Pass;
use super::step::{Action, Behind, Decision, Entry, Query, Waiting};
use crate::api::spec::{OnActiveSessions, RestartMode};
use crate::policy::RotateMode;
use crate::policy::target::ConsumerKind;

/// Quiet polls in a row that prove a drain, however short the quiet time.
pub const QUIET_POLLS: u32 = 3;

impl Pass<'_> {
    pub(super) fn after_delivery(&self, landing: &Landing) -> Decision {
        if let Some(stop) = self.login(Phase::Delivered) {
            return stop;
        }
        if let Some(finding) = refused(self.facts) {
            return self.refused_after_delivery(finding);
        }
        if self.policy.mode() == RotateMode::Immediate {
            if let Some(stop) = self.cut_off() {
                return stop;
            }
        } else if self.facts.retired {
            return self.prove_retired();
        }
        // Looked at in every pass, also after the rollout was recorded: a rollback by hand brings old pods back.
        if self.policy.restart.mode != RestartMode::None {
            match &self.facts.consumers {
                None => return Decision::look(Phase::Delivered, Query::Consumers),
                Some(consumers) => {
                    if let Some(stop) = self.roll_out(consumers, landing.at) {
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
            return Decision::act(Phase::RolledOut, self.record(Entry::RollOut, Some(rotation)));
        };
        self.drain(rolled_out_at)
    }

    /// The effects look at the store once more before they retire anybody, and refuse while it names that user.
    fn refused_after_delivery(&self, finding: Finding) -> Decision {
        let phase = Phase::Delivered;
        match &self.facts.store {
            None if self.policy.delivery.source().is_some() => Decision::look(phase, Query::Store),
            Some(StoreSeen::Present {
                carries_pending: false,
                ..
            }) => self.withdraw(phase),
            Some(StoreSeen::Present { .. } | StoreSeen::Unusable(_)) | None => {
                self.wait(phase, Waiting::Refused(finding))
            }
        }
    }

    /// Nothing, when no pod can hold the old credential; else the next restart, or what is waited for.
    fn roll_out(&self, consumers: &[Consumer], delivered_at: Timestamp) -> Option<Decision> {
        let behind = consumers
            .iter()
            .filter(|c| !c.old_pods.is_empty() || self.is_waited_for(c));
        let behind: Vec<&Consumer> = behind.collect();
        if behind.is_empty() {
            return None;
        }
        let overdue = self.now.duration_since(delivered_at) > self.policy.restart.timeout;
        let no_way_back = match self.failed(&behind, overdue) {
            Ok(no_way_back) => no_way_back,
            Err(decision) => return Some(decision),
        };
        let rolling = behind.iter().filter(|c| is_rolling(c)).count();
        let waits_for_mark = |c: &&&Consumer| {
            !c.marked && !c.reverted && matches!(c.reference.kind, ConsumerKind::Workload(_))
        };
        let unmarked: Vec<&Consumer> = behind.iter().filter(waits_for_mark).copied().collect();
        let phase = if unmarked.is_empty() {
            Phase::Restarted
        } else {
            Phase::Delivered
        };
        let all_left = consumers
            .iter()
            .filter(|c| c.restarter == Restarter::Reloader)
            .count();
        let stands_in = later(delivered_at, grace(all_left));
        let (ours, left): (Vec<&Consumer>, Vec<&Consumer>) = unmarked
            .into_iter()
            .partition(|c| self.restarts(c.restarter, stands_in));
        let next = ours
            .first()
            .copied()
            .filter(|_| rolling < self.policy.restart.max_concurrent);
        let crowded = match next.map(|next| self.crowded(consumers, next)) {
            Some(Err(first)) => return Some(first),
            Some(Ok(crowded)) => crowded,
            None => None,
        };
        let until = later(self.now, pace(self.now.duration_since(delivered_at)));
        match (next, crowded) {
            (Some(next), None) => Some(Decision::act(
                phase,
                Action::Restart {
                    consumer: next.reference.clone(),
                    uid: next.uid.clone(),
                    form: next.restarter,
                },
            )),
            // Those that run will make room, or say themselves why they do not.
            (Some(_), Some(crowded)) if rolling == 0 => {
                Some(Decision::wait(phase, until, Waiting::Room(crowded)))
            }
            (None, _) if ours.is_empty() && !left.is_empty() => {
                let only_reloader = self.policy.restart.mode == RestartMode::Reloader;
                let why = Waiting::Reloader {
                    left: left.iter().map(|c| c.reference.clone()).collect(),
                    until: (!only_reloader).then_some(stands_in),
                    overdue,
                };
                let until = if only_reloader {
                    until
                } else {
                    until.min(stands_in)
                };
                Some(Decision::wait(phase, until, why))
            }
            (Some(_) | None, _) => {
                let behind = behind
                    .iter()
                    .map(|c| Behind {
                        consumer: c.reference.clone(),
                        old_pods: c.old_pods.clone(),
                        obstacle: c.obstacle.clone(),
                    })
                    .collect();
                let why = Waiting::Rollout {
                    behind,
                    overdue,
                    no_way_back,
                };
                Some(Decision::wait(phase, until, why))
            }
        }
    }

    /// Whether it is for Tandem to restart a consumer now. Too early, in another's stead, would be a second rollout.
    fn restarts(&self, restarter: Restarter, stands_in: Timestamp) -> bool {
        match (self.policy.restart.mode, restarter) {
            (RestartMode::Reloader | RestartMode::None, _) => false,
            (RestartMode::Controller, _) | (RestartMode::Auto, Restarter::Tandem) => true,
            (RestartMode::Auto, Restarter::Reloader) => self.now >= stands_in,
        }
    }

    /// Nothing, when the old password is refused and nobody has a session with it. A leaked password is not kept valid
    /// for the sake of a rollout.
    fn cut_off(&self) -> Option<Decision> {
        let phase = Phase::Delivered;
        match &self.facts.previous {
            None => return Some(Decision::look(phase, Query::Previous)),
            Some(Previous::Unreachable(finding)) => {
                return Some(self.wait(phase, Waiting::Refused(finding.clone())));
            }
            Some(Previous::Accepted) if self.facts.retired => {
                return Some(self.wait(phase, Waiting::NotRetired));
            }
            // A password that nobody remembers may be the leaked one.
            Some(Previous::Unknown) if self.facts.retired => {}
            Some(Previous::Accepted | Previous::Unknown) => return Some(self.retire(phase)),
            Some(Previous::Refused) => {}
        }
        match &self.facts.sessions {
            None => Some(Decision::look(phase, Query::Sessions)),
            Some(Sessions::Counted { laggards, .. }) if !laggards.is_empty() && !self.facts.terminated => {
                Some(Decision::act(phase, self.terminate()))
            }
            Some(Sessions::Counted { .. }) => None,
            Some(Sessions::Unreachable(finding)) => Some(self.wait(phase, Waiting::Refused(finding.clone()))),
        }
    }

    fn drain(&self, rolled_out_at: Timestamp) -> Decision {
        let phase = Phase::RolledOut;
        // It is proven to be cut off, in this very pass. A replica that was not waited for before is waited for now.
        if self.policy.mode() == RotateMode::Immediate {
            if let Some(stop) = self.endpoints(phase) {
                return stop;
            }
            return self.end();
        }
        let keep_until = later(rolled_out_at, self.policy.retire.after);
        if keep_until > self.now {
            // Looked at all the same: a failover could lose the new password meanwhile, and applications use it.
            let look = later(self.now, pace(self.now.duration_since(rolled_out_at)));
            return Decision::wait(phase, keep_until.min(look), Waiting::RetireAfter(keep_until));
        }
        let (laggards, quiet) = match &self.facts.sessions {
            None => return Decision::look(phase, Query::Sessions),
            Some(Sessions::Unreachable(finding)) => {
                return self.wait(phase, Waiting::Refused(finding.clone()));
            }
            Some(Sessions::Counted { laggards, quiet }) => (laggards, quiet),
        };
        let terminates = self.policy.on_active() == OnActiveSessions::Terminate;
        let overdue = self.now.duration_since(rolled_out_at) > self.policy.drain.timeout;
        let poll = later(self.now, poll_interval(self.policy.drain.quiet_for));
        if terminates && self.facts.terminated {
            // Connection pools come back at once, for as long as the password works. Waiting for quiet would have no
            // end; the deadline that the policy sets is this one.
            return self.retire(Phase::Drained);
        }
        if !laggards.is_empty() {
            if overdue && terminates {
                return Decision::act(phase, self.terminate());
            }
            return Decision::wait(
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
            return Decision::wait(phase, until, Waiting::Quiet);
        }
        self.retire(Phase::Drained)
    }

    fn terminate(&self) -> Action {
        Action::Terminate {
            user: self.rotation.retiring.clone(),
        }
    }

    fn retire(&self, phase: Phase) -> Decision {
        // What has leaked is not kept valid for the sake of a replica that is late.
        if self.policy.mode() != RotateMode::Immediate
            && let Some(stop) = self.endpoints(phase)
        {
            return stop;
        }
        // The active credential was proven in this very pass: never retire one user unless the other works now.
        let user = self.rotation.retiring.clone();
        Decision::act(
            phase,
            Action::Retire {
                user,
                mode: self.policy.retire.mode,
            },
        )
    }

    /// The retiring verifier was accepted in this turn. That is no proof yet (R5): the old password must be refused.
    fn prove_retired(&self) -> Decision {
        match &self.facts.previous {
            None => Decision::look(Phase::Drained, Query::Previous),
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
        if self.policy.on_active() == OnActiveSessions::Terminate && !self.facts.terminated {
            match &self.facts.sessions {
                None => return Decision::look(Phase::Retired, Query::Sessions),
                Some(Sessions::Counted { laggards, .. }) if !laggards.is_empty() => {
                    return Decision::act(Phase::Retired, self.terminate());
                }
                Some(Sessions::Counted { .. }) => {}
                Some(Sessions::Unreachable(finding)) => {
                    return self.wait(Phase::Retired, Waiting::Refused(finding.clone()));
                }
            }
        }
        self.end()
    }

    /// The server refuses the old password: what is left of it goes, the pooler's knowledge of it and the journal's.
    fn end(&self) -> Decision {
        let struck = self.strike(Phase::Retired);
        struck.unwrap_or_else(|| Decision::act(Phase::Retired, self.record(Entry::Finish, None)))
    }
}

/// Whether its pods are being replaced now.
pub(super) fn is_rolling(consumer: &Consumer) -> bool {
    consumer.marked && !consumer.old_pods.is_empty()
}
