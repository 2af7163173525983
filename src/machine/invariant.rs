//! What must hold before each write, stated apart from the machine that decides it. The driver checks it before
//! every `perform`: a mistake in `decide` stands still instead of locking somebody out.

use super::after_delivery::QUIET_POLLS;
use super::drift::{Cause, Drift, asked_to_reapply, drift, is_proven};
use super::endpoints;
use super::facts::{Facts, Login, Previous, SecretSeen, Sessions, StoreSeen};
use super::journal::{Journal, Loaded, Rotation};
use super::step::{Action, Entry};
use crate::api::spec::{OnActiveSessions, RestartMode};
use crate::policy::{Policy, RotateMode};

/// A write that must not happen. Always a defect of Tandem, never of its surroundings.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("refusing to {action}: {rule}; this is a defect of Tandem, please report it")]
pub struct Broken {
    action: &'static str,
    rule: &'static str,
}

/// Whether the write may happen, given what is remembered and what was seen in this pass.
///
/// # Errors
/// Names the rule that it would break.
pub fn permits(policy: &Policy, journal: &Loaded, facts: &Facts, action: &Action) -> Result<(), Broken> {
    let forbid = |rule| {
        Err(Broken {
            action: action.label(),
            rule,
        })
    };
    if policy.suspended || policy.deleting {
        return forbid("S7: a suspended or deleted policy changes nothing");
    }
    let rotation = match journal {
        Loaded::Valid(journal) => journal.rotation.as_ref(),
        Loaded::Absent => None,
        Loaded::Corrupt(_) => return forbid("a journal that cannot be trusted is never acted on"),
    };
    if let Action::Record { entry, next } = action {
        return match record(policy, journal, rotation, facts, *entry, next) {
            Some(rule) => forbid(rule),
            None => Ok(()),
        };
    }
    let Some(rotation) = rotation else {
        return outside(policy, journal, facts, action).map_or(Ok(()), forbid);
    };
    let broken = match action {
        Action::Propose { .. } | Action::Flip { .. } if !proven(facts) => {
            Some("S5: the source of truth must never name an unproven credential")
        }
        // Where the Secret carries it already, only its mark is put back; a roll-back puts back what has worked
        // everywhere; and what has leaked is not kept for the sake of a replica that is late.
        Action::Propose { .. } | Action::Flip { .. }
            if rotation.undoes.is_none()
                && policy.mode() != RotateMode::Immediate
                && !delivered(facts)
                && !endpoints::open(policy, facts) =>
        {
            Some("S5: the credential is not proven at every endpoint")
        }
        Action::Record { .. } | Action::Propose { .. } | Action::Reload { .. } => None,
        Action::Strike { user, .. } => (*user != rotation.retiring || !refused_for_good(facts))
            .then_some("S1: a pooler forgets the old password only after the server has"),
        Action::SetVerifier { user } | Action::Enlist { user, .. } => {
            (*user != rotation.pending).then_some("S2: only the pending user's verifier is in the journal")
        }
        Action::Flip { .. } => (policy.delivery.source().is_some() && !facts.proposed)
            .then_some("the store makes current only what it holds"),
        Action::Sync { .. } => {
            (!flipped(facts)).then_some("a sync before the flip would bring the old credential again")
        }
        Action::Restart { .. }
            if !delivered(facts) || (policy.delivery.source().is_some() && rotation.delivered.is_none()) =>
        {
            Some("a restart before the delivery would load the old credential again")
        }
        Action::Restart { consumer, .. } => {
            let mut seen = facts.consumers.iter().flatten();
            seen.any(|found| found.reference == *consumer && found.reverted)
                .then_some("a restart that somebody took back is not made again")
        }
        Action::Terminate { user } => (*user != rotation.retiring
            || (rotation.rolled_out_at.is_none() && !facts.retired && !cut_off(policy, facts)))
        .then_some("sessions are ended only after the rollout"),
        Action::Retire { user, .. } => retire(policy, rotation, facts, user == &rotation.retiring),
    };
    broken.map_or(Ok(()), forbid)
}

/// Why a role must not be changed outside a rotation, if so.
fn outside(policy: &Policy, journal: &Loaded, facts: &Facts, action: &Action) -> Option<&'static str> {
    let journal = match journal {
        Loaded::Valid(journal) if journal.kept.is_some() => journal,
        Loaded::Valid(_) | Loaded::Absent | Loaded::Corrupt(_) => {
            return Some("S2: no credential is durable in the journal");
        }
    };
    if asked_to_reapply(policy, journal).is_none() {
        return Some("S11: outside a rotation nothing is set unless somebody asks for it");
    }
    let lost = match drift(policy, journal, facts) {
        Some(Drift::ActiveRefused { user, cause, .. }) => {
            cause != Cause::Told && *action == Action::SetVerifier { user }
        }
        Some(Drift::RetiredAccepted { user, cause, .. }) => {
            let retires = matches!(action, Action::Retire { user: named, .. } if *named == user);
            cause != Cause::Told && is_proven(facts) && retires
        }
        Some(Drift::OtherServer { .. }) | None => false,
    };
    (!lost).then_some("S11: only what was seen to be lost is set once more")
}

fn record(
    policy: &Policy,
    journal: &Loaded,
    rotation: Option<&Rotation>,
    facts: &Facts,
    entry: Entry,
    next: &Journal,
) -> Option<&'static str> {
    let absent = matches!(journal, Loaded::Absent);
    let running = rotation.is_some();
    let before = match journal {
        Loaded::Valid(journal) => journal.number,
        Loaded::Absent | Loaded::Corrupt(_) => 0,
    };
    match entry {
        Entry::Adopt | Entry::Recover => (!absent).then_some("a journal that is there is never started over"),
        Entry::Reschedule => running.then_some("a running rotation ends on its snapshot"),
        Entry::Stage => {
            (absent || running || before.checked_add(1) != Some(next.number) || next.rotation.is_none())
                .then_some("S4: at most one pending credential, numbered without a gap")
        }
        Entry::Regenerate | Entry::Deliver | Entry::Withdraw | Entry::RollOut
            if !running || next.rotation.is_none() || next.number != before =>
        {
            Some("only a running rotation goes on")
        }
        Entry::Regenerate => {
            let undoes = rotation.is_some_and(|rotation| rotation.undoes.is_some());
            let told = undoes || policy.delivery.source().is_some() && flipped(facts);
            told.then_some("S5: applications may have been told this password already")
        }
        Entry::Deliver => {
            (!delivered(facts)).then_some("the application Secret does not carry the new credential")
        }
        Entry::Withdraw | Entry::RollOut => None,
        Entry::RollBack => roll_back(rotation, facts, before, next),
        Entry::Reapply | Entry::Accept => (running || next.rotation.is_some() || next.number != before)
            .then_some("S11: what is kept of a rotation is spoken of while none runs"),
        Entry::CallOff => (rotation != next.rotation.as_ref() || next.number != before)
            .then_some("an abort that is too late changes nothing else"),
        Entry::Finish => (!running || next.rotation.is_some() || next.number != before)
            .then_some("only a running rotation ends"),
    }
}

fn roll_back(
    rotation: Option<&Rotation>,
    facts: &Facts,
    before: u64,
    next: &Journal,
) -> Option<&'static str> {
    let (Some(running), Some(back)) = (rotation, &next.rotation) else {
        return Some("only a running rotation is taken back");
    };
    if back.pending != running.retiring || back.retiring != running.pending {
        return Some("a roll-back goes in the other direction");
    }
    if before.checked_add(1) != Some(next.number) || back.undoes.is_none() {
        return Some("S4: a roll-back is a rotation of its own, numbered without a gap");
    }
    if running.undoes.is_some() {
        return Some("a roll-back is never rolled back");
    }
    let logs_in = matches!(facts.previous, Some(Previous::Accepted)) && !facts.retired;
    (!logs_in).then_some("S9: what is put back must log in")
}

fn retire(policy: &Policy, rotation: &Rotation, facts: &Facts, is_retiring: bool) -> Option<&'static str> {
    if !is_retiring || !delivered(facts) {
        return Some("S1: the user that the Secret names is never retired");
    }
    if !proven(facts) {
        return Some("S1: the old user is retired only while the new one is proven to work");
    }
    // That applications are refused until they are restarted is what was asked for.
    if policy.mode() == RotateMode::Immediate {
        return None;
    }
    if !endpoints::open(policy, facts) {
        return Some("S1: the old user is retired only while the new one is proven at every endpoint");
    }
    if rotation.rolled_out_at.is_none() {
        return Some("S3: the rollout has not ended");
    }
    let pods_gone = policy.restart.mode == RestartMode::None
        || facts
            .consumers
            .as_ref()
            .is_some_and(|all| all.iter().all(|c| c.old_pods.is_empty()));
    if !pods_gone {
        return Some("S3: a pod may still hold the old credential");
    }
    if policy.on_active() == OnActiveSessions::Terminate && facts.terminated {
        return None;
    }
    match &facts.sessions {
        Some(Sessions::Counted {
            laggards,
            quiet: Some(quiet),
        }) if laggards.is_empty() && quiet.polls >= QUIET_POLLS => None,
        Some(Sessions::Counted { .. } | Sessions::Unreachable(_)) | None => {
            Some("S3: the drain is not proven")
        }
    }
}

/// Whether the server refuses the old password, as far as anybody knows it.
fn refused_for_good(facts: &Facts) -> bool {
    match facts.previous {
        Some(Previous::Refused) => true,
        Some(Previous::Unknown) => facts.retired,
        Some(Previous::Accepted | Previous::Unreachable(_)) | None => false,
    }
}

/// Whether the old user is retired before the rollout, and cannot log in any more.
fn cut_off(policy: &Policy, facts: &Facts) -> bool {
    policy.mode() == RotateMode::Immediate && matches!(facts.previous, Some(Previous::Refused))
}

fn proven(facts: &Facts) -> bool {
    matches!(facts.pending, Some(Login::Accepted(_)))
}

fn delivered(facts: &Facts) -> bool {
    matches!(
        facts.secret,
        Some(SecretSeen::Present {
            carries_pending: true,
            ..
        })
    )
}

fn flipped(facts: &Facts) -> bool {
    matches!(
        facts.store,
        Some(StoreSeen::Present {
            carries_pending: true,
            ..
        })
    )
}
