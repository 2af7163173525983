//! What people see: status, conditions and Events, from the same inputs as the decision.

use jiff::Timestamp;

use super::decide::next_scheduled;
use super::facts::{Facts, Preflight, SecretSeen};
use super::in_sync::in_sync;
use super::journal::{Finished, Journal, Loaded};
use super::lists::{consumers, endpoints, laggards};
use super::notices::notices;
use super::phase::Phase;
use super::step::{Decision, Step, Waiting};
use super::words::{Weight, rotate_now_command, words};
use crate::api::condition::{self, condition, merged};
use crate::api::status::{FinishedRotation, RotationPolicyStatus, RotationStatus, to_the_second};
use crate::policy::{Invalid, Policy, RotateMode};

/// How a rotation ended that was taken back, or that took one back.
pub(super) const ROLLED_BACK: &str = "RolledBack";

/// What is to be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Projection {
    /// The whole new status.
    pub status: RotationPolicyStatus,
    /// One for each transition since the status shown before.
    pub notices: Vec<Notice>,
}

/// An Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Stable `CamelCase` reason.
    pub reason: &'static str,
    /// The sentence.
    pub note: String,
    /// Whether somebody should look.
    pub warning: bool,
}

/// Shows where things stand. `old` is the status shown before: it is carried over where this pass has not looked, and
/// compared for transitions; nothing is decided by it.
#[must_use]
pub fn project(
    policy: &Policy,
    journal: &Loaded,
    facts: &Facts,
    decision: &Decision,
    old: &RotationPolicyStatus,
    now: Timestamp,
) -> Projection {
    let held = match journal {
        Loaded::Valid(journal) => Some(journal),
        Loaded::Absent | Loaded::Corrupt(_) => None,
    };
    let said = match &decision.step {
        Step::Wait { why, .. } => Some(words(policy, why)),
        Step::Look(_) | Step::Act(_) | Step::Rest { .. } => None,
    };
    let message = said.as_ref().map(|w| w.message.clone()).unwrap_or_default();
    let rotation = held.and_then(|journal| {
        journal.rotation.as_ref().map(|rotation| RotationStatus {
            number: journal.number,
            trigger: rotation.trigger.as_str().to_owned(),
            mode: match rotation.mode {
                RotateMode::Graceful => None,
                mode @ (RotateMode::Urgent | RotateMode::Immediate) => Some(mode.as_str().to_owned()),
            },
            phase: decision.phase.as_str().to_owned(),
            undoing: rotation.trigger.undoing(),
            started_at: to_the_second(rotation.started_at),
            message,
        })
    });
    let history = held.map(|journal| journal.history.as_slice()).unwrap_or_default();
    let landed = held.and_then(|journal| journal.rotation.as_ref()?.delivered.clone());
    let delivered = match &facts.secret {
        Some(SecretSeen::Present {
            delivered: Some(_),
            landing,
            ..
        }) => landing.clone(),
        Some(SecretSeen::Present { delivered: None, .. } | SecretSeen::Missing) | None => landed,
    };
    let (consumers, more_consumers) = consumers(facts, old);
    let (laggards, more_laggards) = laggards(facts);
    let mut status = RotationPolicyStatus {
        observed_generation: Some(policy.generation),
        active_user: active_user(facts).or_else(|| old.active_user.clone()),
        last_rotation: history.first().map(finished),
        next_rotation_at: held
            .and_then(|journal| next_scheduled(policy, journal, now))
            .map(to_the_second),
        credential_changed_at: delivered
            .map(|landing| to_the_second(landing.at))
            .or_else(|| old.credential_changed_at.clone()),
        last_handled_rotate_now: held.and_then(|journal| journal.handled.clone()),
        last_handled_abort: held.and_then(|journal| journal.aborted.clone()),
        last_handled_reapply: held.and_then(|journal| journal.reapplied.clone()),
        last_handled_accept: held.and_then(|journal| journal.accepted.clone()),
        consumers,
        more_consumers,
        endpoints: endpoints(policy, held.map(AsRef::as_ref), facts, old, now),
        laggards,
        more_laggards,
        history: history.iter().take(policy.history_limit).map(finished).collect(),
        rotation,
        conditions: Vec::new(),
    };
    status.conditions = conditions(policy, held.map(AsRef::as_ref), facts, decision, old, now);
    let notices = notices(
        policy,
        old,
        &status,
        decision,
        said.filter(|w| w.weight == Weight::Stalled)
            .map(|w| (w.reason, w.message)),
    );
    Projection { status, notices }
}

/// Shows a spec that cannot mean anything. Nothing else of the status is touched.
#[must_use]
pub fn project_invalid(
    generation: i64,
    invalid: &Invalid,
    old: &RotationPolicyStatus,
    now: Timestamp,
) -> Projection {
    let message = format!("{invalid}; nothing is done until it is corrected");
    let make = |type_, holds| condition(type_, holds, "InvalidSpec", &message, generation, now);
    let mut conditions = vec![
        make(condition::READY, false),
        make(condition::RECONCILING, false),
        make(condition::STALLED, true),
    ];
    conditions.extend(carried(old, condition::PREFLIGHT));
    conditions.extend(carried(old, condition::CREDENTIALS_IN_SYNC));
    let status = RotationPolicyStatus {
        observed_generation: Some(generation),
        conditions: merged(&old.conditions, conditions),
        ..old.clone()
    };
    let told = old
        .conditions
        .iter()
        .any(|c| c.type_ == condition::STALLED && c.status == "True" && c.message == message);
    let notices = if told {
        Vec::new()
    } else {
        vec![Notice {
            reason: "InvalidSpec",
            note: message,
            warning: true,
        }]
    };
    Projection { status, notices }
}

/// Shows a pass that did not come to an end. It is tried again; what had been done is found again by looking.
#[must_use]
pub fn project_trouble(
    policy: &Policy,
    reason: &'static str,
    message: &str,
    old: &RotationPolicyStatus,
    now: Timestamp,
) -> Projection {
    let make = |type_, holds| condition(type_, holds, reason, message, policy.generation, now);
    let mut conditions = vec![
        make(condition::READY, false),
        make(condition::RECONCILING, true),
        make(condition::STALLED, false),
    ];
    conditions.extend(carried(old, condition::PREFLIGHT));
    conditions.extend(carried(old, condition::CREDENTIALS_IN_SYNC));
    let mut status = old.clone();
    if let Some(rotation) = &mut status.rotation {
        message.clone_into(&mut rotation.message);
    }
    status.conditions = merged(&old.conditions, conditions);
    Projection {
        status,
        notices: Vec::new(),
    }
}

fn active_user(facts: &Facts) -> Option<String> {
    let named = match &facts.secret {
        Some(SecretSeen::Present { user, .. }) => user.as_ref(),
        Some(SecretSeen::Missing) | None => None,
    };
    named
        .or_else(|| facts.preflight.as_ref()?.active.as_ref())
        .map(ToString::to_string)
}

fn finished(entry: &Finished) -> FinishedRotation {
    let reason = entry.undone.clone().or_else(|| entry.trigger.undoing());
    FinishedRotation {
        number: entry.number,
        trigger: entry.trigger.as_str().to_owned(),
        result: if reason.is_some() {
            ROLLED_BACK
        } else {
            "Completed"
        }
        .to_owned(),
        reason,
        user: entry.user.to_string(),
        started_at: to_the_second(entry.started_at),
        finished_at: to_the_second(entry.finished_at),
        rollout_seconds: entry
            .rolled_out_at
            .map(|at| at.duration_since(entry.started_at).as_secs()),
    }
}

fn conditions(
    policy: &Policy,
    held: Option<&Journal>,
    facts: &Facts,
    decision: &Decision,
    old: &RotationPolicyStatus,
    now: Timestamp,
) -> Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
    let make = |type_, holds, reason, message: &str| {
        condition(type_, holds, reason, message, policy.generation, now)
    };
    let (ready, reconciling, stalled, reason, message) = match &decision.step {
        Step::Rest { .. } if policy.deleting => (
            false,
            false,
            false,
            "Deleting",
            "the policy is being deleted; nothing more is changed".to_owned(),
        ),
        Step::Rest { .. } => (
            true,
            false,
            false,
            "Idle",
            format!("rotate now with: {}", rotate_now_command(policy)),
        ),
        Step::Look(_) | Step::Act(_) => (
            false,
            true,
            false,
            "Rotating",
            format!("{}; going on", decision.phase),
        ),
        Step::Wait { why, .. } => {
            let said = words(policy, why);
            // Suspension hides what preflight found, so Ready asks it itself.
            let idle = decision.phase == Phase::Idle
                && *why == Waiting::Suspended
                && facts.preflight.as_ref().is_some_and(Preflight::passed);
            let stalled = said.weight == Weight::Stalled;
            (
                idle,
                !stalled && *why != Waiting::Suspended,
                stalled,
                said.reason,
                said.message,
            )
        }
    };
    let mut new = vec![
        make(condition::READY, ready, reason, &message),
        make(condition::RECONCILING, reconciling, reason, &message),
        make(condition::STALLED, stalled, reason, &message),
    ];
    match &facts.preflight {
        Some(preflight) => {
            let lines: Vec<_> = preflight.findings.iter().map(|f| f.message.as_str()).collect();
            let reason = preflight.findings.first().map_or("Passed", |f| f.reason);
            let said = if lines.is_empty() {
                "everything a rotation needs is in order".to_owned()
            } else {
                lines.join("\n")
            };
            new.push(make(condition::PREFLIGHT, preflight.passed(), reason, &said));
        }
        None => new.extend(carried(old, condition::PREFLIGHT)),
    }
    match in_sync(policy, held, facts) {
        Some(Ok(message)) => new.push(make(
            condition::CREDENTIALS_IN_SYNC,
            true,
            "LoginSucceeded",
            message,
        )),
        Some(Err((reason, message))) => {
            new.push(make(condition::CREDENTIALS_IN_SYNC, false, reason, &message));
        }
        None => new.extend(carried(old, condition::CREDENTIALS_IN_SYNC)),
    }
    merged(&old.conditions, new)
}

/// Reasons of findings which say that the active credential itself does not log in.
pub const ACTIVE_LOGIN_FAILED: &str = "ActiveLoginFailed";

fn carried(
    old: &RotationPolicyStatus,
    type_: &str,
) -> Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
    old.conditions.iter().find(|c| c.type_ == type_).cloned()
}
