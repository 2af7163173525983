//! One turn: look, decide, perform, show, until there is nothing left to do now. The same loop drives the real world
//! and the simulated one.

use jiff::{SignedDuration, Timestamp};

use crate::api::RotationPolicyStatus;
use crate::effects::{Error, Fresh, Outcome, World};
use crate::machine::invariant::{Broken, permits};
use crate::machine::project::{Projection, project, project_invalid, project_trouble};
use crate::machine::{Action, Decision, Facts, Loaded, Step, decide};
use crate::policy::{Invalid, Policy, RotateMode};

/// More steps than any rotation has; a turn that reaches it goes on in the next, so that one policy cannot starve
/// the others.
const MAX_STEPS: usize = 500;

/// When to take the next turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// At this time, or when the policy changes.
    At(Timestamp),
    /// When the policy changes.
    OnChange,
}

/// What decides. There is one in the product; tests put broken ones in its place to prove that they are noticed.
pub trait Mind: Sync {
    /// See [`decide()`].
    fn decide(&self, policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision;

    /// See [`permits()`].
    ///
    /// # Errors
    /// Names the rule that the write would break.
    fn permits(
        &self,
        policy: &Policy,
        journal: &Loaded,
        facts: &Facts,
        action: &Action,
    ) -> Result<(), Broken>;
}

/// The machine as it ships.
#[derive(Clone, Copy, Debug)]
pub struct Machine;

impl Mind for Machine {
    fn decide(&self, policy: &Policy, journal: &Loaded, facts: &Facts, now: Timestamp) -> Decision {
        decide(policy, journal, facts, now)
    }

    fn permits(
        &self,
        policy: &Policy,
        journal: &Loaded,
        facts: &Facts,
        action: &Action,
    ) -> Result<(), Broken> {
        permits(policy, journal, facts, action)
    }
}

/// Takes one turn for one policy.
///
/// # Errors
/// Whatever did not come to an end; what had been done is found again by looking in the next turn.
pub async fn turn<W: World>(mind: &impl Mind, world: &mut W) -> Result<Next, Error> {
    let fresh = match world.load().await {
        Ok(Some(fresh)) => fresh,
        Ok(None) => return Ok(Next::OnChange),
        Err(error) => {
            let found = world.object().cloned();
            if let Some(object) = found {
                let mut shown = object.status.clone().unwrap_or_default();
                tell(world, &Policy::parse(&object), &error, &mut shown).await;
            }
            return Err(error);
        }
    };
    let mut shown = fresh.object.status.clone().unwrap_or_default();
    let live = Policy::parse(&fresh.object);
    let result = steps(mind, world, fresh, &mut shown).await;
    if let Err(error) = &result {
        tell(world, &live, error, &mut shown).await;
    }
    result
}

/// Shows an error on its policy. The first one is the one to report; that it could not be shown either adds nothing.
async fn tell<W: World>(
    world: &mut W,
    policy: &Result<Policy, Invalid>,
    error: &Error,
    shown: &mut RotationPolicyStatus,
) {
    if let (Ok(policy), Some(reason)) = (policy, error.reason()) {
        let projection = project_trouble(policy, reason, &error.to_string(), shown, world.now());
        drop(show(world, shown, projection).await);
    }
}

async fn steps<W: World>(
    mind: &impl Mind,
    world: &mut W,
    mut fresh: Fresh,
    shown: &mut RotationPolicyStatus,
) -> Result<Next, Error> {
    let mut facts = Facts::default();
    for _ in 0..MAX_STEPS {
        let now = world.now();
        let policy = match meaning(&mut fresh) {
            Ok(policy) => policy,
            Err(invalid) => {
                let generation = fresh.object.metadata.generation.unwrap_or_default();
                let projection = project_invalid(generation, &invalid, shown, now);
                return Ok(pause(world, shown, projection, Next::OnChange).await);
            }
        };
        let decision = mind.decide(&policy, &fresh.journal, &facts, now);
        let projection = project(&policy, &fresh.journal, &facts, &decision, shown, now);
        match decision.step {
            Step::Look(query) => facts.absorb(world.look(&policy, query).await?),
            Step::Act(action) => {
                mind.permits(&policy, &fresh.journal, &facts, &action)?;
                // Only what is new is shown between two writes, and a failure to show it holds up no rotation.
                if phase(&projection.status) != phase(shown) {
                    pause(world, shown, projection, Next::OnChange).await;
                }
                match world.perform(&policy, &action).await? {
                    Outcome::Done => facts = facts.after(&action),
                    Outcome::Refused(refused) => facts.refused = Some(refused),
                }
                // Afresh before each write: an edit, a suspension or a deletion counts from now on.
                match world.load().await? {
                    Some(again) => fresh = again,
                    None => return Ok(Next::OnChange),
                }
            }
            Step::Wait { until, .. } => {
                let next = if until == Timestamp::MAX {
                    Next::OnChange
                } else {
                    Next::At(until)
                };
                return Ok(pause(world, shown, projection, next).await);
            }
            Step::Rest { next } => {
                let next = next.map_or(Next::OnChange, Next::At);
                return Ok(pause(world, shown, projection, next).await);
            }
        }
    }
    Ok(Next::At(world.now()))
}

/// The live policy, or, while a rotation runs, the snapshot it runs on. A policy that was made invalid meanwhile
/// stands still. A snapshot that this release cannot read is a journal that cannot be trusted.
fn meaning(fresh: &mut Fresh) -> Result<Policy, Invalid> {
    let live = Policy::parse(&fresh.object)?;
    let Loaded::Valid(journal) = &fresh.journal else {
        return Ok(live);
    };
    let Some(rotation) = &journal.rotation else {
        // The mode is said of the value beside it. Once that is answered, it asks for nothing.
        let asked = live.rotate_now.is_some() && live.rotate_now != journal.handled;
        let rotate_mode = if asked {
            live.rotate_mode
        } else {
            Ok(RotateMode::Graceful)
        };
        return Ok(Policy { rotate_mode, ..live });
    };
    match Policy::parse_as(&fresh.object, &rotation.spec) {
        Ok(policy) => Ok(Policy {
            rotate_mode: Ok(rotation.mode),
            ..policy
        }),
        Err(invalid) => {
            fresh.journal = Loaded::Corrupt(format!("its snapshot is not valid here: {invalid}"));
            Ok(live)
        }
    }
}

/// Shows where things stand, and says when to come back. A status that cannot be shown holds up no rotation: nothing
/// depends on it (fm09). It is only tried again sooner.
async fn pause<W: World>(
    world: &mut W,
    shown: &mut RotationPolicyStatus,
    projection: Projection,
    next: Next,
) -> Next {
    let Err(error) = show(world, shown, projection).await else {
        return next;
    };
    tracing::warn!(%error, "failed to show the status");
    let soon = match error {
        Error::Conflict { .. } => SignedDuration::from_secs(1),
        Error::Fenced
        | Error::TimedOut { .. }
        | Error::Kubernetes { .. }
        | Error::Refused(_)
        | Error::Postgres { .. }
        | Error::Store { .. }
        | Error::Unusable(_)
        | Error::Broken(_) => SignedDuration::from_secs(30),
    };
    let soon = world.now() + soon;
    match next {
        Next::At(at) => Next::At(at.min(soon)),
        Next::OnChange => Next::At(soon),
    }
}

async fn show<W: World>(
    world: &mut W,
    shown: &mut RotationPolicyStatus,
    projection: Projection,
) -> Result<(), Error> {
    if projection.status == *shown && projection.notices.is_empty() {
        return Ok(());
    }
    let urgent = essence(&projection.status) != essence(shown) || !projection.notices.is_empty();
    world.publish(&projection, urgent).await?;
    *shown = projection.status;
    Ok(())
}

fn phase(status: &RotationPolicyStatus) -> Option<(u64, &str)> {
    status.rotation.as_ref().map(|r| (r.number, r.phase.as_str()))
}

/// What a person must learn at once; the rest is progress.
fn essence(status: &RotationPolicyStatus) -> impl PartialEq + '_ {
    let conditions: Vec<_> = status
        .conditions
        .iter()
        .map(|c| (&c.type_, &c.status, &c.reason))
        .collect();
    (
        phase(status),
        status.observed_generation,
        &status.last_handled_rotate_now,
        &status.last_handled_abort,
        &status.next_rotation_at,
        conditions,
    )
}
