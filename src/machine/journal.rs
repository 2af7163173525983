//! What must survive a crash. The journal Secret holds this as JSON beside the pending and retiring credentials;
//! the machine knows of those only that they are there.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::facts::Identity;
use crate::api::{self, RotationPolicySpec};
use crate::policy::RotateMode;
use crate::policy::target::RoleName;

/// Layout of the journal; another one is refused, never guessed at.
pub const SCHEMA: u32 = 1;

/// The journal Secret, as found at the start of a pass.
#[derive(Clone, Debug, PartialEq)]
pub enum Loaded {
    /// There is none.
    Absent,
    /// It is there and cannot be trusted; the text says why.
    Corrupt(String),
    /// It is there and has been validated.
    Valid(Box<Journal>),
}

/// The only memory that a rotation needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Journal {
    /// Layout of what follows.
    pub schema: u32,
    /// Uid of the policy that it belongs to.
    pub policy: String,
    /// Number of the last rotation that began; 0 before the first.
    pub number: u64,
    /// Value of the rotate-now annotation that was answered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handled: Option<String>,
    /// Value of the abort annotation that was answered last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aborted: Option<String>,
    /// Up to when the schedule has been dealt with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<ScheduleMark>,
    /// The rotation under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
    /// Finished rotations, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Finished>,
}

/// A schedule and the time up to which its times have been dealt with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScheduleMark {
    /// The schedule's text; another text is another schedule, and starts at the time it was first seen, so that
    /// giving an old policy a schedule never rotates anything by itself.
    pub text: String,
    /// Times up to here are done with.
    pub since: Timestamp,
}

/// A rotation under way. While it exists, the journal Secret holds the pending credential and the retiring verifier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rotation {
    /// What started it.
    pub trigger: Trigger,
    /// How much it may disturb.
    #[serde(default, skip_serializing_if = "is_graceful")]
    pub mode: RotateMode,
    /// When it started.
    pub started_at: Timestamp,
    /// The spec that it runs on to its end, whatever is edited meanwhile.
    pub spec: RotationPolicySpec,
    /// The user that takes over.
    pub pending: RoleName,
    /// The user that goes.
    pub retiring: RoleName,
    /// The server that it began on; absent after a recovery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// When the API server took the journal that began it, to the second: no pod from before can hold the pending
    /// credential. Whoever writes the journal cannot know it; it is filled in when the journal is read, and kept by the
    /// write after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged_at: Option<Timestamp>,
    /// The rotation that this one takes back, when it is a roll-back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoes: Option<Undone>,
    /// How many pending passwords the server has refused so far.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rejected: u32,
    /// With a store: when the credential was seen to have come into the application Secret. Tandem leaves no mark on a
    /// Secret that it does not write, so this takes its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered: Option<Landing>,
    /// Id that the landing of its first delivery has. A delivery that had to be made again has another: restart marks
    /// made of the Secret's content alone, as Reloader's are, may then be those of the delivery before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
    /// When the rollout ended and the wait for sessions began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_out_at: Option<Timestamp>,
}

/// A delivery, as consumers are judged by it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Landing {
    /// When the API server took it, to the second: a pod that was created later has loaded what it brought.
    pub at: Timestamp,
    /// Tells it from every other delivery of the same rotation.
    pub id: String,
}

/// A rotation that is taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Undone {
    /// Its number.
    pub number: u64,
    /// Its [`Rotation::staged_at`]: pods that were created before hold the credential that is put back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staged_at: Option<Timestamp>,
}

/// What started a rotation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum Trigger {
    /// The rotate-now annotation with this value.
    RotateNow(String),
    /// The schedule, at this time.
    Schedule(Timestamp),
    /// The schedule: this time, and perhaps others before it, had been missed.
    CatchUp(Timestamp),
    /// The journal was lost after the flip; the rest of the rotation is done again from the application Secret.
    Recovery,
    /// A rollout failed in this way, and the policy says that the previous credential is put back.
    RollBack(String),
    /// The abort annotation with this value: the previous credential is put back.
    Abort(String),
}

/// A rotation that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Finished {
    /// Its number.
    pub number: u64,
    /// What started it.
    pub trigger: Trigger,
    /// The user that is active since.
    pub user: RoleName,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// When its rollout ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_out_at: Option<Timestamp>,
    /// Why it was taken back, when it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undone: Option<String>,
}

impl Trigger {
    /// One word for metrics, Events and status.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::RotateNow(_) => "RotateNow",
            Self::Schedule(_) => "Schedule",
            Self::CatchUp(_) => "CatchUp",
            Self::Recovery => "Recovery",
            Self::RollBack(_) => "RollBack",
            Self::Abort(_) => "Abort",
        }
    }

    /// Why the rotation before is taken back, when that is what it does.
    #[must_use]
    pub fn undoing(&self) -> Option<String> {
        match self {
            Self::RotateNow(_) | Self::Schedule(_) | Self::CatchUp(_) | Self::Recovery => None,
            Self::RollBack(failure) => Some(failure.clone()),
            Self::Abort(value) => Some(format!("{}={value}", api::ABORT)),
        }
    }
}

impl Journal {
    /// The journal of a policy that has never rotated.
    #[must_use]
    pub fn new(policy: &str) -> Self {
        Self {
            schema: SCHEMA,
            policy: policy.to_owned(),
            number: 0,
            handled: None,
            aborted: None,
            schedule: None,
            rotation: None,
            history: Vec::new(),
        }
    }

    /// Reads a journal that was found, and validates everything that must fit together.
    #[must_use]
    pub fn load(json: &[u8], policy: &str) -> Loaded {
        /// Read first, so that the journal of another release is named as such and not as bad JSON.
        #[derive(Deserialize)]
        struct Version {
            schema: u32,
        }
        match serde_json::from_slice::<Version>(json) {
            Ok(Version { schema }) if schema != SCHEMA => {
                return Loaded::Corrupt(format!(
                    "it has schema {schema}; this release reads schema {SCHEMA}"
                ));
            }
            Ok(_) | Err(_) => {}
        }
        let journal: Self = match serde_json::from_slice(json) {
            Ok(journal) => journal,
            // The position tells a person where to look; serde's message could repeat what stands there.
            Err(e) => {
                return Loaded::Corrupt(format!(
                    "it is not valid at line {} column {}",
                    e.line(),
                    e.column()
                ));
            }
        };
        match journal.flaw(policy) {
            Some(flaw) => Loaded::Corrupt(flaw),
            None => Loaded::Valid(Box::new(journal)),
        }
    }

    /// Puts a rotation that has ended into the history. The last one is kept whatever the limit: `status.lastRotation`
    /// comes from it.
    pub(super) fn remember(&mut self, ended: Finished, limit: usize) {
        self.history.insert(0, ended);
        self.history.truncate(limit.max(1));
    }

    /// What does not fit together, if anything.
    fn flaw(&self, policy: &str) -> Option<String> {
        if self.policy != policy {
            return Some(format!("it belongs to the policy with uid {}", self.policy));
        }
        let rotation = self.rotation.as_ref()?;
        if self.number == 0 {
            return Some("it has a rotation with the number 0".into());
        }
        let users = &rotation.spec.users;
        let named = |role: &RoleName| users.iter().any(|user| user == role.as_str());
        if rotation.pending == rotation.retiring || !named(&rotation.pending) || !named(&rotation.retiring) {
            return Some("its pending and retiring users are not the pair of its own snapshot".into());
        }
        None
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_graceful(mode: &RotateMode) -> bool {
    *mode == RotateMode::Graceful
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}
