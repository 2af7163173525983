//! Outside a rotation: is the server still as the last one has left it? A failover to a replica that lacked the change,
//! a restore and a second writer all show here. They are told and left alone, for only a person knows who is right; one
//! annotation sets once more what the journal knows, another takes what is there for right.

use jiff::{SignedDuration, Timestamp};

use super::facts::{Facts, Finding, KeptSeen, Login, Previous, SecretSeen, StoreSeen};
use super::journal::{Journal, Kept};
use super::pace::{SLOW, later};
use super::phase::Phase;
use super::step::{Action, Decision, Entry, Query, Waiting};
use crate::policy::Policy;
use crate::policy::target::RoleName;

/// How often a policy with nothing to do has its whole preflight looked at again.
const RECHECK: SignedDuration = SignedDuration::from_hours(12);
/// How soon a check that could not be made for an answer is tried again.
const RETRY: SignedDuration = SignedDuration::from_secs(15);

/// What the server does not have any more of what the last rotation left there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Drift {
    /// It is another cluster.
    OtherServer {
        /// System identifier on which the last rotation ended.
        expected: String,
        /// System identifier found.
        found: String,
    },
    /// It refuses the password that applications are told.
    ActiveRefused {
        /// The user.
        user: RoleName,
        /// What speaks for whose doing it is.
        cause: Cause,
        /// Until when it is known to have been otherwise.
        since: Timestamp,
    },
    /// It takes the password that was retired.
    RetiredAccepted {
        /// The user.
        user: RoleName,
        /// What speaks for whose doing it is.
        cause: Cause,
        /// Until when it is known to have been otherwise.
        since: Timestamp,
    },
}

/// Whose doing a drift may be. The server keeps no record of who has changed a password, and only the traces of a failover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// What tells applications the credential is not as the last rotation left it.
    Told,
    /// The timeline is another one: a standby was promoted, or a backup was restored, without the change.
    Failover {
        /// Timeline on which the last rotation ended.
        from: u32,
        /// Timeline found.
        to: u32,
    },
    /// The timeline is the same, so the server has lost nothing: somebody else has set a password.
    Writer,
    /// Nobody could ask.
    Unknown,
}

impl Drift {
    /// Stable `CamelCase` reason.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::OtherServer { .. } => "ServerReplaced",
            Self::ActiveRefused { .. } => "ActivePasswordRefused",
            Self::RetiredAccepted { .. } => "RetiredPasswordAccepted",
        }
    }
}

/// What is not any more as the last rotation left it, the worst of it. Where none has ended yet, Tandem has left nothing.
#[must_use]
pub fn drift(policy: &Policy, journal: &Journal, facts: &Facts) -> Option<Drift> {
    let held = journal.kept.as_ref()?;
    let looked = facts.kept.as_ref().and_then(|seen| seen.identity.as_ref());
    let found = looked.or_else(|| facts.preflight.as_ref()?.identity.as_ref());
    if let (Some(expected), Some(found)) = (&held.identity, found)
        && expected.system != found.system
    {
        return Some(Drift::OtherServer {
            expected: expected.system.clone(),
            found: found.system.clone(),
        });
    }
    let seen = facts.kept.as_ref()?;
    let (cause, since) = (cause(policy, held, seen, facts), held.since);
    if seen.active == Some(Login::WrongPassword) {
        let user = match named(policy, facts) {
            Some(user) => user.clone(),
            None => held.active.clone(),
        };
        return Some(Drift::ActiveRefused { user, cause, since });
    }
    if seen.retired != Previous::Accepted {
        return None;
    }
    let user = held.retired.clone()?;
    Some(Drift::RetiredAccepted { user, cause, since })
}

fn cause(policy: &Policy, held: &Kept, seen: &KeptSeen, facts: &Facts) -> Cause {
    if !is_told(policy, facts) {
        return Cause::Told;
    }
    match (&held.identity, &seen.identity) {
        (Some(was), Some(is)) if was.timeline == is.timeline => Cause::Writer,
        (Some(was), Some(is)) => Cause::Failover {
            from: was.timeline,
            to: is.timeline,
        },
        (None | Some(_), _) => Cause::Unknown,
    }
}

/// Whether applications are told what the last rotation delivered.
fn is_told(policy: &Policy, facts: &Facts) -> bool {
    if policy.delivery.source().is_some() {
        return matches!(
            facts.store,
            Some(StoreSeen::Present {
                carries_pending: true,
                ..
            })
        );
    }
    matches!(
        facts.secret,
        Some(SecretSeen::Present {
            carries_pending: true,
            ..
        })
    )
}

/// The user that applications are told to be.
fn named<'a>(policy: &Policy, facts: &'a Facts) -> Option<&'a RoleName> {
    if policy.delivery.source().is_some() {
        return match facts.store.as_ref()? {
            StoreSeen::Present { user, .. } => user.as_ref(),
            StoreSeen::Unusable(_) => None,
        };
    }
    match facts.secret.as_ref()? {
        SecretSeen::Present { user, .. } => user.as_ref(),
        SecretSeen::Missing => None,
    }
}

/// The check of an idle policy: nothing when it is not due, or when it found nothing that stands in the way. `wanted` says
/// that a rotation is asked for.
pub(super) fn check(
    policy: &Policy,
    journal: &Journal,
    facts: &Facts,
    wanted: bool,
    now: Timestamp,
) -> Option<Decision> {
    let (reapply, accept) = (
        asked_to_reapply(policy, journal),
        asked_to_accept(policy, journal),
    );
    if reapply.is_none() && accept.is_none() && !is_due(policy, journal, wanted, now) {
        return None;
    }
    let Some(seen) = &facts.kept else {
        return Some(Decision::look(Phase::Idle, Query::Kept));
    };
    let drift = drift(policy, journal, facts);
    if let Some(value) = accept {
        return Some(answer(seen, now, || accepted(journal, seen, value)));
    }
    if let Some(value) = reapply
        && !matches!(drift, Some(Drift::OtherServer { .. }))
    {
        let next = || reapplied(policy, journal, facts, drift.as_ref(), value);
        return Some(answer(seen, now, next));
    }
    let drift = drift?;
    // The rotation gives the retired user another password anyway, and mends it.
    if wanted && matches!(drift, Drift::RetiredAccepted { .. }) {
        return None;
    }
    let until = later(now, policy.check_every.min(SLOW));
    Some(Decision::wait(Phase::Idle, until, Waiting::Drift(drift)))
}

/// The end of a rotation has proven everything that is checked. Before the first one there is only the active credential,
/// which preflight looks at as well.
fn is_due(policy: &Policy, journal: &Journal, wanted: bool, now: Timestamp) -> bool {
    match &journal.kept {
        Some(held) => later(held.since, policy.check_every) <= now,
        None => !wanted,
    }
}

/// Whether the check and a preflight of not long ago say together that all is well.
pub(super) fn suffices(facts: &Facts, now: Timestamp) -> bool {
    let preflight_at = facts.kept.as_ref().and_then(|seen| seen.preflight_at);
    is_proven(facts) && preflight_at.is_some_and(|at| later(at, RECHECK) > now)
}

/// Answers an annotation, as soon as the server can be asked.
fn answer(seen: &KeptSeen, now: Timestamp, next: impl FnOnce() -> Action) -> Decision {
    match unanswered(seen) {
        Some(finding) => Decision::wait(Phase::Idle, later(now, RETRY), Waiting::Refused(finding.clone())),
        None => Decision::act(Phase::Idle, next()),
    }
}

fn unanswered(seen: &KeptSeen) -> Option<&Finding> {
    match (&seen.active, &seen.retired) {
        (Some(Login::Refused(finding)), _) | (_, Previous::Unreachable(finding)) => Some(finding),
        (
            Some(Login::Accepted(_) | Login::WrongPassword | Login::NotYet) | None,
            Previous::Accepted | Previous::Refused | Previous::Unknown,
        ) => None,
    }
}

/// The server is what it should be, and the password that it takes is nobody's business any more. What it refuses cannot be
/// accepted: applications are told to use it.
fn accepted(journal: &Journal, seen: &KeptSeen, value: &str) -> Action {
    let mut next = journal.clone();
    next.accepted = Some(value.to_owned());
    if let Some(held) = &mut next.kept {
        if seen.identity.is_some() {
            held.identity.clone_from(&seen.identity);
        }
        if seen.retired == Previous::Accepted {
            held.retired = None;
        }
    }
    let (entry, next) = (Entry::Accept, Box::new(next));
    Action::Record { entry, next }
}

/// What has to be set once more: first the password that applications use. Each at most once for one value: whoever changes
/// it again in the same moment is not fought.
fn reapplied(
    policy: &Policy,
    journal: &Journal,
    facts: &Facts,
    drift: Option<&Drift>,
    value: &str,
) -> Action {
    match drift {
        Some(Drift::ActiveRefused { user, cause, .. }) if *cause != Cause::Told && !facts.altered => {
            Action::SetVerifier { user: user.clone() }
        }
        Some(Drift::RetiredAccepted { user, cause, .. })
            if *cause != Cause::Told && !facts.retired && is_proven(facts) =>
        {
            Action::Retire {
                user: user.clone(),
                mode: policy.retire.mode,
            }
        }
        Some(Drift::ActiveRefused { .. } | Drift::RetiredAccepted { .. } | Drift::OtherServer { .. })
        | None => {
            let mut next = journal.clone();
            next.reapplied = Some(value.to_owned());
            let (entry, next) = (Entry::Reapply, Box::new(next));
            Action::Record { entry, next }
        }
    }
}

/// Whether the active user has just logged in.
pub(super) fn is_proven(facts: &Facts) -> bool {
    let seen = facts.kept.as_ref();
    seen.is_some_and(|seen| matches!(seen.active, Some(Login::Accepted(_))))
}

/// The value of the reapply annotation, while it has not been answered.
pub(super) fn asked_to_reapply<'a>(policy: &'a Policy, journal: &Journal) -> Option<&'a str> {
    let value = policy.reapply.as_deref();
    value.filter(|value| journal.reapplied.as_deref() != Some(value))
}

/// The value of the accept annotation, while it has not been answered.
fn asked_to_accept<'a>(policy: &'a Policy, journal: &Journal) -> Option<&'a str> {
    let value = policy.accept.as_deref();
    value.filter(|value| journal.accepted.as_deref() != Some(value))
}
