//! How much a rotation that somebody asks for may disturb.

use serde::{Deserialize, Serialize};

/// How much a rotation that somebody asks for may disturb. What is scheduled is always graceful.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RotateMode {
    /// Nobody who was given a credential is ever refused.
    #[default]
    Graceful,
    /// The same, at once: outside the schedule's window and beyond the limits on rotations under way. The price: what has
    /// sessions of the old user when `drain.timeout` is over is cut off, and what has not read the new credential
    /// by then is refused.
    Urgent,
    /// For a password that has leaked: as soon as the application Secret carries the new credential, the old user is
    /// retired and its sessions are ended. The price: every application is refused from then until it is restarted.
    Immediate,
}

impl RotateMode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Graceful, Self::Urgent, Self::Immediate];

    /// As it is written in the annotation.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Graceful => "Graceful",
            Self::Urgent => "Urgent",
            Self::Immediate => "Immediate",
        }
    }

    /// What the annotation says; without one, or an empty one, it is graceful.
    ///
    /// # Errors
    /// The text, when it is none of them.
    pub fn read(text: Option<String>) -> Result<Self, String> {
        let Some(text) = text else {
            return Ok(Self::default());
        };
        let found = Self::ALL.into_iter().find(|mode| mode.as_str() == text);
        found.ok_or(text)
    }
}
