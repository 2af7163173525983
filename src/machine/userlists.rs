//! Lists of passwords that poolers have (`userlist.txt`), each in a Secret, and how they are kept in step with the server.
//!
//! The new entry is written before the server's password is changed, so that it is on its way into the pooler meanwhile;
//! nobody uses the standby, so that its old entry serves nobody. The pooler is told to read its list only when a login
//! through it is refused after that: a pooler that knows a password before the server does would fail at the server, and
//! then let everybody wait. The old user's entry goes last of all, when the server has refused its password: until then
//! the rotation may be taken back.

use super::decide::refused;
use super::endpoints::{Door, EndpointSeen};
use super::facts::Finding;
use super::pace::{RELOADS, late, later, pace};
use super::phase::Phase;
use super::rotation::Pass;
use super::step::{Action, Decision, Query, Waiting};
use crate::policy::Endpoint;

/// Reason of a finding which says that a pooler does not let a user through, for whatever reason.
pub const POOLER_REFUSES: &str = "PoolerRefuses";

/// What a pooler's list has, as its Secret says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListSeen {
    /// Name of the endpoint.
    pub endpoint: String,
    /// What there is.
    pub list: List,
}

/// See [`ListSeen`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum List {
    /// It was read and understood.
    Known {
        /// Guard for the write that follows.
        version: String,
        /// It has the pending password, or the verifier that the server gets.
        has_pending: bool,
        /// It has the verifier of the old user that nobody knows the password of.
        has_retiring: bool,
    },
    /// It cannot be used.
    Unusable(Finding),
}

/// Whose entry.
#[derive(Clone, Copy)]
enum Entrant {
    Pending,
    Retiring,
}

impl Pass<'_> {
    /// Nothing, when every list has the pending user's new verifier.
    pub(super) fn enlist(&self, phase: Phase) -> Option<Decision> {
        self.listed(phase, Entrant::Pending)
    }

    /// Nothing, when no list has the old user's password any more.
    pub(super) fn strike(&self, phase: Phase) -> Option<Decision> {
        self.listed(phase, Entrant::Retiring)
    }

    fn listed(&self, phase: Phase, entrant: Entrant) -> Option<Decision> {
        let mut with_list = self.policy.endpoints.iter().filter(|e| e.userlist.is_some());
        with_list.clone().next()?;
        if let Some(finding) = refused(self.facts) {
            return Some(self.wait(phase, Waiting::Refused(finding)));
        }
        let Some(seen) = &self.facts.lists else {
            return Some(Decision::look(phase, Query::Lists));
        };
        with_list.find_map(|endpoint| match list_of(seen, endpoint) {
            List::Unusable(finding) => Some(self.wait(phase, Waiting::Refused(finding))),
            List::Known {
                version,
                has_pending,
                has_retiring,
            } => {
                let endpoint = endpoint.name.clone();
                let (has, action) = match entrant {
                    Entrant::Pending => {
                        let user = self.rotation.pending.clone();
                        (
                            has_pending,
                            Action::Enlist {
                                endpoint,
                                user,
                                version,
                            },
                        )
                    }
                    Entrant::Retiring => {
                        let user = self.rotation.retiring.clone();
                        (
                            has_retiring,
                            Action::Strike {
                                endpoint,
                                user,
                                version,
                            },
                        )
                    }
                };
                (!has).then(|| Decision::act(phase, action))
            }
        })
    }

    /// What is to be done for a pooler with a list that does not let the pending user through; nothing, when there is
    /// none. Once in a turn it is told to read its list, and then it is waited for: a changed Secret takes its time to
    /// come to where it is mounted.
    pub(super) fn reload(&self, phase: Phase, seen: &[EndpointSeen]) -> Option<Decision> {
        let refuses = |endpoint: &EndpointSeen| match &endpoint.door {
            Door::Refused(finding) => finding.reason == POOLER_REFUSES,
            Door::Open | Door::Behind(_) => false,
        };
        let mut shut = seen.iter().filter(|seen| refuses(seen)).filter_map(|seen| {
            let mut all = self.policy.endpoints.iter();
            all.find(|endpoint| endpoint.name == seen.name && endpoint.userlist.is_some())
        });
        let first = shut.clone().next()?;
        if let Some(stop) = self.enlist(phase) {
            return Some(stop);
        }
        let told = |endpoint: &Endpoint| self.facts.reloaded.contains(&endpoint.name);
        if let Some(endpoint) = shut.find(|endpoint| !told(endpoint)) {
            let endpoint = endpoint.name.clone();
            return Some(Decision::act(phase, Action::Reload { endpoint }));
        }
        let waited = self
            .now
            .duration_since(self.rotation.rolled_out_at.unwrap_or(self.rotation.started_at));
        let why = Waiting::List {
            endpoint: first.name.clone(),
            secret: first.userlist.as_ref()?.secret.clone(),
            overdue: late(waited),
        };
        Some(Decision::wait(
            phase,
            later(self.now, pace(waited).max(RELOADS)),
            why,
        ))
    }
}

/// Every endpoint that has a list was asked for it, or none was.
fn list_of(seen: &[ListSeen], endpoint: &Endpoint) -> List {
    let found = seen.iter().find(|seen| seen.endpoint == endpoint.name);
    found.map_or_else(
        || {
            List::Unusable(Finding {
                blocks: true,
                reason: "UserlistUnknown",
                message: format!(
                    "the list of endpoint {} was not looked at; this is a defect of Tandem, please report it",
                    endpoint.name
                ),
            })
        },
        |seen| seen.list.clone(),
    )
}
