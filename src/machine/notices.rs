//! Events: one for each transition since the status that was shown before.

use super::phase::Phase;
use super::project::{Notice, ROLLED_BACK};
use super::step::Decision;
use crate::api::status::{FinishedRotation, RotationPolicyStatus};
use crate::api::{self, condition};
use crate::policy::{Policy, RotateMode};

/// One Event for each phase that was reached since, and one when it first stands still.
pub(super) fn notices(
    policy: &Policy,
    old: &RotationPolicyStatus,
    new: &RotationPolicyStatus,
    decision: &Decision,
    stalled: Option<(&'static str, String)>,
) -> Vec<Notice> {
    let mut notices = Vec::new();
    let mut tell = |warning, reason, note: String| {
        notices.push(Notice {
            reason,
            note,
            warning,
        });
    };
    if let Some(ended) = &new.last_rotation
        && ended.number > old.last_rotation.as_ref().map_or(0, |shown| shown.number)
    {
        let (warning, reason, note) = ending(ended, new.rotation.is_some());
        tell(warning, reason, note);
    }
    if let Some(value) = too_late(old, new) {
        tell(
            false,
            "NothingAborted",
            format!(
                "{}={value} is answered, and nothing was given up: no rotation ran, or the credential from before could not be put back any more",
                api::ABORT
            ),
        );
    }
    if let Some(rotation) = &new.rotation {
        let before = old
            .rotation
            .as_ref()
            .filter(|shown| shown.number == rotation.number);
        if before.is_none()
            && let Some((reason, price)) = price(policy)
        {
            tell(true, reason, format!("rotation {}: {price}", rotation.number));
        }
        let reached = before
            .and_then(|shown| Phase::ALL.into_iter().find(|p| p.as_str() == shown.phase))
            .unwrap_or(Phase::Prepared);
        for phase in Phase::ALL
            .into_iter()
            .filter(|p| *p > reached && *p <= decision.phase)
            .filter(|p| *p != Phase::Flipped || policy.delivery.source().is_some())
        {
            let (reason, said) = match rotation.undoing {
                Some(_) => announce_undoing(phase),
                None => announce(phase),
            };
            let note = format!("rotation {} ({}): {said}", rotation.number, rotation.trigger);
            tell(false, reason, note);
        }
    }
    if let Some((reason, note)) = stalled {
        let told = old
            .conditions
            .iter()
            .any(|c| c.type_ == condition::STALLED && c.status == "True" && c.reason == reason);
        if !told {
            notices.push(Notice {
                reason,
                note,
                warning: true,
            });
        }
    }
    notices
}

/// What is told of a rotation that has ended. One that was taken back is followed at once by the one that does it.
fn ending(ended: &FinishedRotation, followed: bool) -> (bool, &'static str, String) {
    let FinishedRotation { number, user, .. } = ended;
    let why = ended.reason.as_deref().unwrap_or_default();
    if ended.result != ROLLED_BACK {
        let note = format!("rotation {number} completed; {user} is active");
        (false, "RotationCompleted", note)
    } else if followed {
        let note = format!("rotation {number} is taken back, and {user} becomes active again: {why}");
        (true, "RollingBack", note)
    } else {
        let note = format!("rotation {number} completed the roll-back; {user} is active again: {why}");
        (false, "RolledBack", note)
    }
}

/// The value of an abort annotation that was answered since, and took nothing back.
fn too_late<'a>(old: &RotationPolicyStatus, new: &'a RotationPolicyStatus) -> Option<&'a String> {
    let value = new.last_handled_abort.as_ref()?;
    if old.last_handled_abort.as_ref() == Some(value) {
        return None;
    }
    let by = format!("{}={value}", api::ABORT);
    let runs = new
        .rotation
        .as_ref()
        .is_some_and(|rotation| rotation.undoing.as_ref() == Some(&by));
    let ran = new
        .last_rotation
        .as_ref()
        .is_some_and(|last| last.reason.as_ref() == Some(&by));
    (!runs && !ran).then_some(value)
}

/// What a rotation costs that is in a hurry.
fn price(policy: &Policy) -> Option<(&'static str, &'static str)> {
    match policy.mode() {
        RotateMode::Graceful => None,
        RotateMode::Urgent => Some((
            "RotatingUrgently",
            "it waits for no window and for no other policy; sessions of the old user are ended when drain.timeout is over",
        )),
        RotateMode::Immediate => Some((
            "RotatingImmediately",
            "when the application Secret carries the new credential, the old password is refused and its sessions are ended; applications that hold it are refused until they are restarted",
        )),
    }
}

fn announce(phase: Phase) -> (&'static str, &'static str) {
    match phase {
        Phase::Idle => ("Idle", "nothing is running"),
        Phase::Prepared => ("PreflightPassed", "everything it needs is in order"),
        Phase::Staged => ("CredentialStaged", "a new credential is durable in the journal"),
        Phase::Altered => ("StandbyAltered", "the standby user has its new password"),
        Phase::Verified => ("StandbyVerified", "the standby user logs in with it"),
        Phase::Flipped => ("StoreFlipped", "the store names the standby user"),
        Phase::Delivered => (
            "SecretDelivered",
            "the application Secret carries the new credential",
        ),
        Phase::Restarted => (
            "ConsumersRestarted",
            "every consumer that needed it was restarted",
        ),
        Phase::RolledOut => ("RolloutCompleted", "no pod holds the old credential"),
        Phase::Drained => ("OldUserDrained", "no session of the old user is left"),
        Phase::Retired => ("OldUserRetired", "the old password is refused"),
    }
}

fn announce_undoing(phase: Phase) -> (&'static str, &'static str) {
    let (reason, said) = announce(phase);
    let said = match phase {
        Phase::Idle | Phase::Prepared => said,
        Phase::Staged => "the credential from before is durable in the journal",
        Phase::Altered => "its user has its password again",
        Phase::Verified => "its user logs in",
        Phase::Flipped => "the store names its user again",
        Phase::Delivered => "the application Secret carries the credential from before again",
        Phase::Restarted => "every consumer that had been restarted was restarted again",
        Phase::RolledOut => "no pod holds the credential that was taken back",
        Phase::Drained => "no session of its user is left",
        Phase::Retired => "its password is refused",
    };
    (reason, said)
}
