//! One pass over a running rotation: up to the flip, and through a store to the application Secret. What follows the
//! delivery is in `after_delivery.rs`.

use jiff::Timestamp;

use super::decide::{MAX_REJECTED, refused, schedule_mark};
use super::facts::{Facts, Identity, Login, OperatorSeen, Refused, SecretSeen, StoreSeen};
use super::journal::{Journal, Kept, Landing, Rotation, Trigger};
use super::pace::{SETTLES, SLOW, later, pace, patience, sync_poll};
use super::phase::Phase;
use super::step::{Action, Decision, Entry, Query, Waiting};
use crate::policy::{Policy, RotateMode, Route};

/// One pass over a running rotation.
pub(super) struct Pass<'a> {
    /// Parsed from the rotation's own snapshot.
    pub(super) policy: &'a Policy,
    pub(super) journal: &'a Journal,
    pub(super) rotation: &'a Rotation,
    pub(super) facts: &'a Facts,
    pub(super) now: Timestamp,
}

impl Pass<'_> {
    pub(super) fn rotate(&self) -> Decision {
        if let Some(decision) = self.abort() {
            return decision;
        }
        match &self.policy.delivery.route {
            Route::Direct { .. } => self.direct(),
            Route::StoreFirst { .. } => self.store_first(),
        }
    }

    /// Which side of the flip are we on? Only the application Secret knows.
    fn direct(&self) -> Decision {
        match &self.facts.secret {
            None => Decision::look(Phase::Staged, Query::Secret),
            Some(SecretSeen::Present {
                delivered: Some(delivered),
                ..
            }) if delivered.number > self.journal.number => {
                self.outdated("application Secret", delivered.number)
            }
            Some(SecretSeen::Missing) => self.wait(Phase::Staged, Waiting::SecretMissing),
            Some(SecretSeen::Present {
                carries_pending: true,
                delivered: Some(delivered),
                landing: Some(landing),
                ..
            }) if delivered.number == self.journal.number => self.after_delivery(landing),
            // The credential is there, and its mark is not: somebody took it away. Only the mark tells which pods are
            // younger, so it is put back with a delivery of its own.
            Some(SecretSeen::Present {
                carries_pending: true,
                version,
                ..
            }) => self.flip(Phase::Delivered, version),
            // What a roll-back puts back may be there still, in keys that people have made: without those of the templates
            // it is not a delivery.
            Some(SecretSeen::Present {
                user: Some(user),
                version,
                ..
            }) if *user == self.rotation.retiring
                || self.rotation.undoes.is_some() && *user == self.rotation.pending =>
            {
                let ready = self.before_flip();
                ready.unwrap_or_else(|| self.flip(Phase::Verified, version))
            }
            // The standby's name with a password that is not ours, a stranger, or nobody: somebody else wrote it.
            // Whatever we did now could be wrong, and both passwords of the pair are still valid.
            Some(SecretSeen::Present { user, .. }) => {
                self.wait(Phase::Staged, Waiting::SecretChanged(user.clone()))
            }
        }
    }

    /// Which side of the flip are we on? Only the store knows; and only the Secret's data tells whether the credential
    /// has come to the applications.
    fn store_first(&self) -> Decision {
        let carried = match &self.facts.secret {
            None => return Decision::look(Phase::Staged, Query::Secret),
            Some(SecretSeen::Present {
                carries_pending: true,
                landing,
                version,
                ..
            }) => Some(self.landing(landing.as_ref(), version)),
            Some(SecretSeen::Present { .. } | SecretSeen::Missing) => None,
        };
        if let (Some(_), Some(delivered)) = (&carried, &self.rotation.delivered) {
            return self.after_delivery(delivered);
        }
        match &self.facts.store {
            None => Decision::look(Phase::Staged, Query::Store),
            Some(StoreSeen::Unusable(finding)) => self.wait(Phase::Staged, Waiting::Refused(finding.clone())),
            Some(StoreSeen::Present {
                number: Some(number), ..
            }) if *number > self.journal.number => self.outdated("secret in the store", *number),
            Some(StoreSeen::Present {
                carries_pending: true,
                number,
                version,
                ..
            }) => match self.rotation.undoes {
                // What is put back may be there still. A version of its own keeps a flip that was given up, and is on
                // its way to the store, from landing after the end.
                Some(_) if *number != Some(self.journal.number) => self.towards_flip(version),
                Some(_) | None => self.flipped(carried),
            },
            Some(StoreSeen::Present {
                user: Some(user),
                version,
                ..
            }) if *user == self.rotation.retiring => self.towards_flip(version),
            Some(StoreSeen::Present { user, .. }) => {
                self.wait(Phase::Staged, Waiting::StoreChanged(user.clone()))
            }
        }
    }

    /// The latest that it can have been, where nobody says.
    fn landing(&self, seen: Option<&Landing>, version: &str) -> Landing {
        seen.cloned().unwrap_or_else(|| Landing {
            at: self.now,
            id: version.to_owned(),
        })
    }

    /// A journal that knows less than what was delivered was restored from an old backup, or was begun afresh by
    /// mistake. Pods may still hold the password that its next rotation would replace.
    fn outdated(&self, what: &str, number: u64) -> Decision {
        let flaw = outdated(self.journal, what, number);
        Decision::wait(
            Phase::Staged,
            later(self.now, SLOW),
            Waiting::JournalCorrupt(flaw),
        )
    }

    /// Nothing, when the pending credential is proven and the time for the flip has come.
    fn before_flip(&self) -> Option<Decision> {
        let phase = if self.facts.altered {
            Phase::Altered
        } else {
            Phase::Staged
        };
        if let Some(stop) = self.login(phase) {
            return Some(stop);
        }
        // What is put back is not kept waiting: applications may be down for the want of it, and it has worked everywhere.
        // Nor is what has leaked replaced the later for a replica that is behind.
        let returns = self.rotation.undoes.is_some();
        let mode = self.policy.mode();
        if !returns
            && mode != RotateMode::Immediate
            && let Some(stop) = self.endpoints(Phase::Altered)
        {
            return Some(stop);
        }
        let schedule = self.policy.schedule.as_ref();
        let schedule = schedule.filter(|_| !returns && mode == RotateMode::Graceful);
        let opens = schedule.map_or(self.now, |s| s.opens(self.now));
        (opens > self.now).then(|| Decision::wait(Phase::Verified, opens, Waiting::Window(opens)))
    }

    /// The write of the application Secret itself.
    fn flip(&self, phase: Phase, version: &str) -> Decision {
        if let Some(stop) = self.login(phase) {
            return stop;
        }
        if let Some(finding) = refused(self.facts) {
            return self.wait(phase, Waiting::Refused(finding));
        }
        let version = version.to_owned();
        Decision::act(phase, Action::Flip { version })
    }

    /// First the version, which nobody reads, then the one move that makes it current: a reader finds the old
    /// credential or the new one, and both log in.
    fn towards_flip(&self, base: &str) -> Decision {
        if self.rotation.delivered.is_some() {
            return self.withdraw(Phase::Staged);
        }
        if let Some(stop) = self.before_flip() {
            return stop;
        }
        let version = base.to_owned();
        match &self.facts.refused {
            Some(refused) if !self.facts.proposed => self.refused_credential(Phase::Verified, refused),
            Some(Refused::Password(finding) | Refused::Otherwise(finding)) => {
                self.wait(Phase::Verified, Waiting::Refused(finding.clone()))
            }
            None if self.facts.proposed => Decision::act(Phase::Verified, Action::Flip { version }),
            None => Decision::act(Phase::Verified, Action::Propose { base: version }),
        }
    }

    /// The store names the standby. What is left is to bring that into the application Secret.
    fn flipped(&self, carried: Option<Landing>) -> Decision {
        if let Some(stop) = self.login(Phase::Flipped) {
            return stop;
        }
        if let Some(finding) = refused(self.facts) {
            return self.wait(Phase::Flipped, Waiting::Refused(finding));
        }
        match carried {
            // What is put back may never have left the Secret, so that it is there shows nothing. A moment after the move
            // the operator may still be shown the version that is taken back, and bring that.
            Some(_) if self.rotation.undoes.is_some() && !self.has_settled() => self.sync(),
            Some(landing) => {
                // After a recovery nobody knows how often it had been delivered.
                let recovered = self.rotation.trigger == Trigger::Recovery;
                let first = self.rotation.first.clone();
                let rotation = Rotation {
                    first: first.or_else(|| (!recovered).then(|| landing.id.clone())),
                    delivered: Some(landing),
                    ..self.rotation.clone()
                };
                Decision::act(Phase::Delivered, self.record(Entry::Deliver, Some(rotation)))
            }
            // It had come, and somebody put another back: pods that started meanwhile have loaded that one.
            None if self.rotation.delivered.is_some() => self.withdraw(Phase::Flipped),
            None => self.sync(),
        }
    }

    /// After the flip and never before it: a sync that comes first brings the old credential once more, and is reported
    /// as a success (external-secrets-observed 12).
    fn sync(&self) -> Decision {
        let phase = Phase::Flipped;
        let (version, asked, trouble) = match &self.facts.operator {
            None => return Decision::look(phase, Query::Operator),
            Some(OperatorSeen::Unusable(finding)) => {
                return self.wait(phase, Waiting::Refused(finding.clone()));
            }
            Some(OperatorSeen::Present {
                version,
                asked,
                trouble,
            }) => (version, asked, trouble),
        };
        let times = asked.map_or(0, |asked| asked.times);
        if let Some(asked) = asked {
            let again = later(asked.at, patience(times));
            if again > self.now {
                let since_start = self.now.duration_since(self.rotation.started_at);
                let poll = sync_poll(self.now.duration_since(asked.at), since_start);
                let why = Waiting::Sync {
                    times,
                    trouble: trouble.clone(),
                };
                return Decision::wait(phase, again.min(later(self.now, poll)), why);
            }
        }
        let action = Action::Sync {
            version: version.clone(),
            times: times.saturating_add(1),
        };
        Decision::act(phase, action)
    }

    /// Whether the operator was asked since the flip, and so long ago that it is shown what is current.
    fn has_settled(&self) -> bool {
        let Some(OperatorSeen::Present { asked, .. }) = &self.facts.operator else {
            return false;
        };
        asked
            .as_ref()
            .is_some_and(|asked| later(asked.at, SETTLES) <= self.now)
    }

    /// What was delivered is no longer there. Consumers are judged anew by the delivery that follows.
    pub(super) fn withdraw(&self, phase: Phase) -> Decision {
        let rotation = Rotation {
            delivered: None,
            rolled_out_at: None,
            ..self.rotation.clone()
        };
        Decision::act(phase, self.record(Entry::Withdraw, Some(rotation)))
    }

    /// Nothing, when the pending credential is proven; else what is to be done for it. The same on both sides of the
    /// flip: a failover can lose the change at any time, and until the rotation ends the journal can make it good.
    pub(super) fn login(&self, phase: Phase) -> Option<Decision> {
        let set = || Action::SetVerifier {
            user: self.rotation.pending.clone(),
        };
        if !self.facts.altered
            && let Some(refused) = &self.facts.refused
            && !matches!(self.facts.pending, Some(Login::Accepted(_)))
        {
            return Some(self.refused_credential(phase, refused));
        }
        match &self.facts.pending {
            None => Some(Decision::look(phase, Query::Pending)),
            // Setting it a second time in one turn would only hide that somebody else sets it too (R14).
            Some(Login::WrongPassword) if self.facts.altered => Some(self.wait(phase, Waiting::NotAccepted)),
            Some(Login::NotYet | Login::WrongPassword) => {
                Some(self.enlist(phase).unwrap_or_else(|| Decision::act(phase, set())))
            }
            Some(Login::Refused(finding)) => Some(self.wait(phase, Waiting::Refused(finding.clone()))),
            // What the pooler has in its list it logs in to the server with: both must have the very same verifier, and
            // the server may have another one of the same password.
            Some(Login::Accepted(_)) if self.facts.enlisted && !self.facts.altered => {
                Some(Decision::act(phase, set()))
            }
            Some(Login::Accepted(found)) => self.other_server(found).map(|why| self.wait(phase, why)),
        }
    }

    fn refused_credential(&self, phase: Phase, refused: &Refused) -> Decision {
        match refused {
            Refused::Otherwise(finding) => self.wait(phase, Waiting::Refused(finding.clone())),
            // Another password is possible only while nobody has been told this one.
            Refused::Password(_)
                if phase < Phase::Flipped
                    && self.rotation.undoes.is_none()
                    && self.rotation.rejected.saturating_add(1) < MAX_REJECTED =>
            {
                let rotation = Rotation {
                    rejected: self.rotation.rejected.saturating_add(1),
                    ..self.rotation.clone()
                };
                Decision::act(phase, self.record(Entry::Regenerate, Some(rotation)))
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

    pub(super) fn record(&self, entry: Entry, rotation: Option<Rotation>) -> Action {
        let mut next = self.journal.clone();
        if rotation.is_none() {
            next.kept = Some(self.kept());
            next.remember(self.ended(None), self.policy.history_limit);
            // What came due while it was put back is not made up for either.
            if self.rotation.undoes.is_some() {
                next.schedule = schedule_mark(self.policy, self.now);
            }
        }
        next.rotation = rotation;
        Action::Record {
            entry,
            next: Box::new(next),
        }
    }

    /// What the end of this rotation leaves behind, and was proven in this very pass.
    fn kept(&self) -> Kept {
        let identity = match &self.facts.pending {
            Some(Login::Accepted(identity)) => Some(identity.clone()),
            Some(Login::NotYet | Login::WrongPassword | Login::Refused(_)) | None => {
                self.rotation.identity.clone()
            }
        };
        Kept {
            active: self.rotation.pending.clone(),
            retired: Some(self.rotation.retiring.clone()),
            identity,
            since: self.now,
        }
    }

    pub(super) fn wait(&self, phase: Phase, why: Waiting) -> Decision {
        Decision::wait(
            phase,
            later(self.now, pace(self.now.duration_since(self.rotation.started_at))),
            why,
        )
    }
}

/// How a journal that knows less than what was delivered is told.
pub(super) fn outdated(journal: &Journal, what: &str, number: u64) -> String {
    format!(
        "it ends with rotation {}, and the {what} was delivered by rotation {number}",
        journal.number
    )
}
