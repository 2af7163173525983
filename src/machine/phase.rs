//! The phases. Each is a fact that already holds; its doc is the invariant.

use std::fmt;

/// The furthest fact that holds. Ordered as a rotation passes through them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// No rotation runs: the application Secret names the active user.
    Idle,
    /// A rotation is due and preflight has passed: everything it will need was found in order a moment ago.
    Prepared,
    /// The pending password and verifier and the retiring verifier are durable in the journal.
    Staged,
    /// The primary accepted the pending verifier for the standby.
    Altered,
    /// The standby logs in with the pending password, on the server the rotation began on, and can do what it must.
    Verified,
    /// The source of truth names the standby. Only with a store: where Tandem writes the Secret itself, that is the
    /// source of truth, and the flip delivers.
    Flipped,
    /// The application Secret carries the pending credential, all keys at once.
    Delivered,
    /// Every consumer that held the old credential carries this rotation's restart mark.
    Restarted,
    /// No pod that could hold the old credential exists, terminating ones included.
    RolledOut,
    /// No session or prepared transaction of the old user was seen, poll after poll, for the quiet time.
    Drained,
    /// The primary refuses the old password and accepts the new one.
    Retired,
}

impl Phase {
    /// All phases in order.
    pub const ALL: [Self; 11] = [
        Self::Idle,
        Self::Prepared,
        Self::Staged,
        Self::Altered,
        Self::Verified,
        Self::Flipped,
        Self::Delivered,
        Self::Restarted,
        Self::RolledOut,
        Self::Drained,
        Self::Retired,
    ];

    /// The name in status, Events and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "Idle",
            Self::Prepared => "Prepared",
            Self::Staged => "Staged",
            Self::Altered => "Altered",
            Self::Verified => "Verified",
            Self::Flipped => "Flipped",
            Self::Delivered => "Delivered",
            Self::Restarted => "Restarted",
            Self::RolledOut => "RolledOut",
            Self::Drained => "Drained",
            Self::Retired => "Retired",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
