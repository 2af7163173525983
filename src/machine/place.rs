//! How many rotations may disturb applications at the same time, beside those of the other policies. What is held is only
//! the beginning: a rotation that has begun goes on whatever the others do.

use jiff::Timestamp;

use super::journal::Rotation;
use super::pace::later;
use crate::policy::Policy;

/// A place among the rotations under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// This policy has one.
    Had,
    /// There is none now.
    Taken(Taken),
    /// Whether there is one is not known: the controller has just started, and has not yet read the journals of so many
    /// policies of the same namespace or server.
    Unread(usize),
}

/// A limit that is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Which one.
    pub shared: Shared,
    /// How many places it has.
    pub most: usize,
    /// Policies that have them, each with its namespace.
    pub holders: Vec<String>,
    /// How many others wait and come first.
    pub ahead: usize,
}

/// What policies share a limit by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shared {
    /// The namespace.
    Namespace,
    /// The database server.
    Server,
}

impl Shared {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Namespace, Self::Server];

    /// The flag that sets the limit.
    #[must_use]
    pub fn flag(self) -> &'static str {
        match self {
            Self::Namespace => "--max-rotations-per-namespace",
            Self::Server => "--max-rotations-per-server",
        }
    }
}

/// Until when a rotation keeps its place at the most; nothing when it has given it up. The drain needs one too: it logs
/// in at each poll, and when very many drain at once none of them polls often enough to prove anything. But not while
/// the old credential is kept on purpose, which may take days. And whatever holds it up, a rotation that does not go on
/// keeps the others waiting no longer than its own rollout may take.
#[must_use]
pub fn kept_until(policy: &Policy, rotation: &Rotation) -> Option<Timestamp> {
    let waits = rotation.rolled_out_at.is_some() && !policy.retire.after.is_zero();
    let kept = !waits && !policy.suspended;
    kept.then(|| at_most(policy, rotation.started_at))
}

/// Until when a rotation that begins at that time keeps its place at the most.
#[must_use]
pub fn at_most(policy: &Policy, started_at: Timestamp) -> Timestamp {
    later(started_at, policy.restart.timeout)
}
