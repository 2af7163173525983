//! Everywhere that applications log in besides the primary: what was seen there, and what waits for it.

use super::facts::{Facts, Finding};
use super::pace::late;
use super::phase::Phase;
use super::rotation::Pass;
use super::step::{Decision, Query, Waiting};
use crate::policy::Policy;

/// An endpoint at which the pending credential was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSeen {
    /// Its name.
    pub name: String,
    /// What came of it.
    pub door: Door,
}

/// What came of trying the pending credential at every address of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Door {
    /// It works at each of them, on replicas of the right cluster.
    Open,
    /// These have not replayed the change yet; the others have.
    Behind(Vec<Lag>),
    /// At one of them it does not work for another reason, which waiting alone may not mend.
    Refused(Finding),
}

/// How far a replica is behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    /// Name of the endpoint.
    pub endpoint: String,
    /// Host, port and address, for people.
    pub at: String,
    /// Where the primary's log ended after the change.
    pub written: String,
    /// Where the replica is in it; none when it does not say.
    pub replayed: Option<String>,
    /// The distance, in bytes of log.
    pub bytes: Option<u64>,
    /// Why, where the replica knows, with the next command to type.
    pub cause: Option<String>,
}

/// Whether the pending credential was seen to work at each endpoint of the policy, in this pass.
#[must_use]
pub fn open(policy: &Policy, facts: &Facts) -> bool {
    let seen = facts.endpoints.as_deref().unwrap_or_default();
    let is_open = |name: &String| {
        seen.iter()
            .any(|endpoint| endpoint.name == *name && endpoint.door == Door::Open)
    };
    policy.endpoints.iter().all(|endpoint| is_open(&endpoint.name))
}

impl Pass<'_> {
    /// Nothing, when the pending credential is proven everywhere. Before the flip, since whoever is told a password that
    /// is not known yet where it logs in is locked out; and before the old user is retired, since a replica that is late
    /// takes only the old password (R21).
    pub(super) fn endpoints(&self, phase: Phase) -> Option<Decision> {
        if open(self.policy, self.facts) {
            return None;
        }
        let Some(seen) = &self.facts.endpoints else {
            return Some(Decision::look(phase, Query::Endpoints));
        };
        if let Some(decision) = self.reload(phase, seen) {
            return Some(decision);
        }
        let mut behind = Vec::new();
        for endpoint in seen {
            match &endpoint.door {
                Door::Open => {}
                Door::Behind(lags) => behind.extend(lags.iter().cloned()),
                // What a person has to mend is told before what mends itself.
                Door::Refused(finding) => return Some(self.wait(phase, Waiting::Refused(finding.clone()))),
            }
        }
        let since = self.rotation.rolled_out_at.unwrap_or(self.rotation.started_at);
        let overdue = late(self.now.duration_since(since));
        Some(self.wait(phase, Waiting::Replay { behind, overdue }))
    }
}

/// Replicas that are behind, in words.
pub(super) fn behind_words(behind: &[Lag]) -> String {
    let list: Vec<_> = behind
        .iter()
        .map(|lag| {
            let Lag {
                endpoint,
                at,
                written,
                replayed,
                bytes,
                cause,
            } = lag;
            let far = match (replayed, bytes) {
                (Some(replayed), Some(bytes)) => {
                    format!("it has replayed up to {replayed} of {written}, {bytes} bytes behind")
                }
                (Some(_) | None, _) => {
                    format!("the primary's log is at {written}, and it does not say how far it is")
                }
            };
            let cause = cause
                .as_ref()
                .map(|cause| format!("; {cause}"))
                .unwrap_or_default();
            format!("endpoint {endpoint} at {at} has not replayed the new password yet: {far}{cause}")
        })
        .collect();
    list.join(", ")
}
