//! What has been seen in this pass. `None` is *unknown*: the machine asks for what its phase needs, and no more.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::endpoints::EndpointSeen;
use super::journal::Landing;
use super::place::Place;
use super::step::{Action, Entry};
use super::userlists::ListSeen;
use crate::policy::target::{ConsumerRef, RoleName};

/// Everything seen, and everything done, since the pass began. Dropped at its end: nothing is remembered but the journal.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one thing that this turn has done, and none follows from another"
)]
pub struct Facts {
    /// The application Secret.
    pub secret: Option<SecretSeen>,
    /// The secret in the store, where that comes first.
    pub store: Option<StoreSeen>,
    /// The operator that brings it from there into the application Secret.
    pub operator: Option<OperatorSeen>,
    /// Whether a rotation may begin, beside those of other policies.
    pub place: Option<Place>,
    /// What preflight found.
    pub preflight: Option<Preflight>,
    /// Login with the pending credential.
    pub pending: Option<Login>,
    /// Login with the pending credential at each endpoint.
    pub endpoints: Option<Vec<EndpointSeen>>,
    /// What the poolers' lists have.
    pub lists: Option<Vec<ListSeen>>,
    /// Login with the retiring user's last password.
    pub previous: Option<Previous>,
    /// What the server still has of the last rotation.
    pub kept: Option<KeptSeen>,
    /// The workloads and pods that use the credential.
    pub consumers: Option<Vec<Consumer>>,
    /// Connections that the server has room for.
    pub room: Option<Result<Room, Finding>>,
    /// Sessions of the retiring user.
    pub sessions: Option<Sessions>,
    /// A pooler's list got the pending verifier in this turn.
    pub enlisted: bool,
    /// Names of the endpoints whose poolers were told to read their lists in this turn.
    pub reloaded: Vec<String>,
    /// The server has accepted the pending verifier in this turn.
    pub altered: bool,
    /// The store has taken the pending credential as a version that nobody reads yet, in this turn.
    pub proposed: bool,
    /// The server has accepted the retiring verifier in this turn.
    pub retired: bool,
    /// The retiring user's sessions have been ended in this turn, and its password not been changed since.
    pub terminated: bool,
    /// The last write of this turn was refused; it is not tried again before the next turn.
    pub refused: Option<Refused>,
}

/// The application Secret.
#[derive(Clone, Debug, PartialEq)]
pub enum SecretSeen {
    /// There is none.
    Missing,
    /// It is there.
    Present {
        /// User under the user name key; none when the key is missing or names no possible role.
        user: Option<RoleName>,
        /// Whether all keys and templates carry the journal's pending credential.
        carries_pending: bool,
        /// Guard for the write that follows.
        version: String,
        /// How its credential came there, as far as that can be seen.
        landing: Option<Landing>,
        /// The rotation that delivered its credential, when that was one of this policy's and left a mark.
        delivered: Option<Delivered>,
    },
}

/// The mark that a delivery of Tandem's own leaves on the application Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Number of the rotation.
    pub number: u64,
    /// The rotate-now value that it answered.
    pub nonce: Option<String>,
}

/// The secret in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreSeen {
    /// It was read.
    Present {
        /// User that the current version names; none when it names no possible role.
        user: Option<RoleName>,
        /// Whether the current version carries the journal's pending credential.
        carries_pending: bool,
        /// The current version; guard for the write that follows.
        version: String,
        /// Number of the rotation of this policy that made the current version.
        number: Option<u64>,
    },
    /// It could not be read, or is not what it must be.
    Unusable(Finding),
}

/// The operator that syncs the application Secret with the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperatorSeen {
    /// It can be asked to sync.
    Present {
        /// Guard of the object on which it is asked.
        version: String,
        /// When it was last asked in this rotation, and how often.
        asked: Option<Asked>,
        /// What it says of itself that is in the way of a sync. It is told and not believed: only the Secret's data
        /// counts.
        trouble: Option<Finding>,
    },
    /// It cannot be asked.
    Unusable(Finding),
}

/// A request to sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// How many times in this rotation.
    pub times: u32,
    /// When last.
    pub at: Timestamp,
}

/// What preflight found.
#[derive(Clone, Debug, PartialEq)]
pub struct Preflight {
    /// The active user, when the application Secret names one of the pair.
    pub active: Option<RoleName>,
    /// The server, when the administrator could log in.
    pub identity: Option<Identity>,
    /// Who uses the credential, before any of them is behind.
    pub consumers: Vec<Consumer>,
    /// What was found, the blockers first.
    pub findings: Vec<Finding>,
}

impl Preflight {
    /// Whether nothing stands in the way of a rotation.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.findings.iter().all(|finding| !finding.blocks)
    }
}

/// One thing that is wrong, with the command that mends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether it stands in the way of a rotation; else it is a warning.
    pub blocks: bool,
    /// Stable `CamelCase` reason.
    pub reason: &'static str,
    /// What happened, to which object, and the next command to type.
    pub message: String,
}

/// Which server, and which of its lives: a promotion changes the timeline, a restore or another cluster the system.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Identity {
    /// `system_identifier` of the cluster.
    pub system: String,
    /// Timeline of its write-ahead log.
    pub timeline: u32,
}

/// A login that was tried with the pending credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// Nobody can have set the verifier yet: it was made in this turn. Asking the server would only leave a failed
    /// login in its log.
    NotYet,
    /// It works on a primary, as the right role, and the smoke query succeeds.
    Accepted(Identity),
    /// The server is there and says that this password is not the role's.
    WrongPassword,
    /// It does not work for another reason, which setting the password again would not mend; or, before the flip, it
    /// works and the user is not the other one's equal any more.
    Refused(Finding),
}

/// The retiring user's last password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Previous {
    /// It still logs in.
    Accepted,
    /// The server refuses it.
    Refused,
    /// Nobody knows it: the journal was lost.
    Unknown,
    /// The server could not be asked.
    Unreachable(Finding),
}

/// What the server still has of the last rotation, while no other runs.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptSeen {
    /// Login with the credential that applications are told; none when they are told none of the pair's.
    pub active: Option<Login>,
    /// Login with the password of the retired user.
    pub retired: Previous,
    /// The server, where anybody could ask it.
    pub identity: Option<Identity>,
    /// When this process last saw preflight pass for this very spec.
    pub preflight_at: Option<Timestamp>,
}

/// A workload, or a pod without one, whose pods use the credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// What it is.
    pub reference: ConsumerRef,
    /// Uid, the guard of the restart.
    pub uid: String,
    /// Its pod template carries this rotation's mark, whoever made it.
    pub marked: bool,
    /// Who is expected to make it.
    pub restarter: Restarter,
    /// It carried the mark, and somebody has taken it away again: it is not restarted against their will.
    pub reverted: bool,
    /// Pods, terminating ones included, that may hold the old credential.
    pub old_pods: Vec<String>,
    /// Pods that hold the new credential and are ready.
    pub ready: u32,
    /// The most pods more than usual that its restart brings for a time.
    pub surge: u32,
    /// Why its rollout does not go on, in its own words: paused, `OnDelete`, a pod that does not start.
    pub obstacle: Option<String>,
    /// What speaks against its new pods.
    pub failing: Option<Failing>,
}

/// What speaks against the new pods of a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    /// One is not ready, or cannot be made. So begins every rollout; it is a failure when it lasts too long.
    Trouble,
    /// One crashes again and again, or the workload's own deadline is over.
    Failure,
}

/// Who restarts a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Restarter {
    /// Tandem, with a mark that names the delivery.
    Tandem,
    /// Reloader, which looks at the application Secret too. Its mark is made of the Secret's content.
    Reloader,
}

impl Restarter {
    /// The name that people read.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tandem => "Tandem",
            Self::Reloader => "Reloader",
        }
    }
}

/// How many connections there are, and how many there can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// What the next connection with the pending credential meets.
    pub limits: Vec<Limit>,
    /// Connections of both users now.
    pub connections: u32,
}

/// A limit of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What it is, for people.
    pub what: String,
    /// Connections that it allows.
    pub most: u32,
    /// Connections that it counts now.
    pub used: u32,
}

/// Sessions of the retiring user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sessions {
    /// They were counted.
    Counted {
        /// Who is left, grouped; prepared transactions are among them.
        laggards: Vec<Laggard>,
        /// The unbroken series of quiet polls that this process has seen, this one included.
        quiet: Option<Quiet>,
    },
    /// The server could not be asked.
    Unreachable(Finding),
}

/// A group of sessions, or a prepared transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Laggard {
    /// What the client calls itself.
    pub application_name: String,
    /// Where it comes from; empty when unknown.
    pub client_address: String,
    /// Pod behind the address, with its workload; empty when there is none.
    pub pod: String,
    /// Endpoint that it is at; none for the primary.
    pub endpoint: Option<String>,
    /// How many.
    pub count: u32,
}

/// An unbroken series of polls that saw nothing. It lives in the process that polled, on purpose: time in which
/// nobody looked proves nothing, so a restarted controller begins a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quiet {
    /// The first of them.
    pub since: Timestamp,
    /// How many.
    pub polls: u32,
}

/// A write that was refused for good: doing it again at once would not help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The server's password policy does not take this password; another may do.
    Password(Finding),
    /// Anything else.
    Otherwise(Finding),
}

impl Facts {
    /// What is still known after a write: only what this turn has done. Everything else must be seen again.
    #[must_use]
    pub fn after(&self, action: &Action) -> Self {
        let mut next = Self {
            enlisted: self.enlisted,
            reloaded: self.reloaded.clone(),
            altered: self.altered,
            retired: self.retired,
            terminated: self.terminated,
            ..Self::default()
        };
        match action {
            // Another rotation, of which nothing has been done yet.
            Action::Record {
                entry: Entry::Stage, ..
            } => {
                next = Self {
                    pending: Some(Login::NotYet),
                    ..Self::default()
                };
            }
            Action::Record {
                entry: Entry::Regenerate,
                ..
            } => {
                next.pending = Some(Login::NotYet);
                next.enlisted = false;
                next.altered = false;
            }
            Action::Record {
                entry: Entry::Finish | Entry::Recover | Entry::RollBack | Entry::Reapply | Entry::Accept,
                ..
            } => next = Self::default(),
            Action::Enlist { .. } => {
                next.enlisted = true;
                // Still nobody can have set it.
                next.pending = self.pending.clone().filter(|login| *login == Login::NotYet);
            }
            // Nothing is another than it was but the pooler itself.
            Action::Reload { endpoint } => {
                next = Self {
                    endpoints: None,
                    ..self.clone()
                };
                next.reloaded.push(endpoint.clone());
            }
            // The old password has been seen to be refused, and no list changes that.
            Action::Strike { .. } => next.previous.clone_from(&self.previous),
            Action::SetVerifier { .. } => next.altered = true,
            Action::Propose { .. } => next.proposed = true,
            Action::Retire { .. } => {
                next.retired = true;
                // Sessions may have come back before the change.
                next.terminated = false;
            }
            Action::Terminate { .. } => next.terminated = true,
            // What is about to be added to it is counted with the rollouts that run.
            Action::Restart { .. } => next.room.clone_from(&self.room),
            Action::Record {
                entry:
                    Entry::Adopt
                    | Entry::Reschedule
                    | Entry::Deliver
                    | Entry::Withdraw
                    | Entry::RollOut
                    | Entry::CallOff,
                ..
            }
            | Action::Flip { .. }
            | Action::Sync { .. } => {}
        }
        next
    }
}
