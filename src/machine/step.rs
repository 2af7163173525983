//! What the machine answers.

use jiff::Timestamp;

use super::drift::Drift;
use super::endpoints::Lag;
use super::facts::{Finding, Laggard, Limit, Restarter};
use super::journal::Journal;
use super::phase::Phase;
use super::place::Taken;
use crate::api::spec::RetireMode;
use crate::policy::target::{ConsumerRef, RoleName, SecretName};

/// The furthest fact that holds, and what is to be done about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The furthest fact that holds.
    pub phase: Phase,
    /// The one thing to do next.
    pub step: Step,
}

impl Decision {
    pub(super) fn look(phase: Phase, query: Query) -> Self {
        let step = Step::Look(query);
        Self { phase, step }
    }

    pub(super) fn act(phase: Phase, action: Action) -> Self {
        let step = Step::Act(action);
        Self { phase, step }
    }

    pub(super) fn wait(phase: Phase, until: Timestamp, why: Waiting) -> Self {
        let step = Step::Wait { until, why };
        Self { phase, step }
    }
}

/// The one thing to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Ask the world; nothing is changed.
    Look(Query),
    /// One external write.
    Act(Action),
    /// Nothing can be done before that time, or before something changes.
    Wait {
        /// When to look again.
        until: Timestamp,
        /// What is waited for.
        why: Waiting,
    },
    /// Nothing is to be done.
    Rest {
        /// When the schedule has something to do.
        next: Option<Timestamp>,
    },
}

/// A question to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Query {
    /// What does the application Secret carry?
    Secret,
    /// What does the store say is current?
    Store,
    /// Can the operator be asked to sync, and has it been?
    Operator,
    /// May a rotation begin, beside those of other policies?
    Place,
    /// Is everything there that a rotation will need?
    Preflight,
    /// Does the pending credential log in?
    Pending,
    /// Does the pending credential log in at every other endpoint?
    Endpoints,
    /// Do the poolers' lists have what they must?
    Lists,
    /// Does the retiring user's last password still log in?
    Previous,
    /// Does the server still have what the last rotation left there?
    Kept,
    /// Which pods use the credential, and which of them are old?
    Consumers,
    /// How many more connections does the server have room for?
    Room,
    /// Which sessions does the retiring user have?
    Sessions,
}

/// One external write, with its guard. Done twice, or done and not acknowledged, it ends in the same state.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Write the journal. Guard: the resourceVersion it was loaded with.
    Record {
        /// Why, and so what happens to the credentials beside it.
        entry: Entry,
        /// What it will say.
        next: Box<Journal>,
    },
    /// Put the pending verifier into the list of a pooler. Guards: uid and resourceVersion of the list's Secret, and the
    /// rule that the user whom the application Secret names gets only the password which that Secret carries.
    Enlist {
        /// Name of the endpoint.
        endpoint: String,
        /// The standby.
        user: RoleName,
        /// Guard of the list's Secret.
        version: String,
    },
    /// Tell a pooler to read its list. It does what its file says already, and would with its next start.
    Reload {
        /// Name of the endpoint.
        endpoint: String,
    },
    /// Put the retiring verifier into the list of a pooler. Guards as for `Enlist`.
    Strike {
        /// Name of the endpoint.
        endpoint: String,
        /// The retiring user.
        user: RoleName,
        /// Guard of the list's Secret.
        version: String,
    },
    /// Set the pending verifier on the primary; outside a rotation, that of the active user once more. Guards: the deadline of the lease, checked by the server, and the rule
    /// that the user whom the application Secret names is changed only to the password which that Secret carries.
    SetVerifier {
        /// The standby.
        user: RoleName,
    },
    /// Put the pending credential into the store, as a version that nobody reads yet. Guard: the version's own id, which
    /// follows from the rotation and from the version that it is made from, so that doing it again, or a rival's doing
    /// it too, makes no second one.
    Propose {
        /// The current version, whose other content it keeps.
        base: String,
    },
    /// Make the source of truth name the pending credential: with a store, make the proposed version the current one;
    /// else write the application Secret.
    Flip {
        /// Guard: what was current when it was looked at; of a Secret, its uid and resourceVersion.
        version: String,
    },
    /// Ask the operator to sync the application Secret with the store. Guard: uid and resourceVersion of the object on
    /// which it is asked.
    Sync {
        /// Guard of that object.
        version: String,
        /// How many times it has been asked in this rotation, this one included.
        times: u32,
    },
    /// Mark one consumer's pod template. Guard: the consumer's uid.
    Restart {
        /// Which one.
        consumer: ConsumerRef,
        /// Its uid.
        uid: String,
        /// In whose form: with the rotation id, or as Reloader, in whose stead it is made, would have done it.
        form: Restarter,
    },
    /// End the sessions of the retiring user, on the primary and on every replica. Some of them ended and others not is
    /// the same as none: they are counted again.
    Terminate {
        /// The retiring user.
        user: RoleName,
    },
    /// Set the retiring verifier on the primary; outside a rotation, once more. Guards as for `SetVerifier`.
    Retire {
        /// The retiring user.
        user: RoleName,
        /// Whether it also loses its right to log in.
        mode: RetireMode,
    },
}

/// Why the journal is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entry {
    /// First journal of a policy.
    Adopt,
    /// The schedule is another one.
    Reschedule,
    /// A rotation begins: a new pending credential and a retiring verifier are made and kept with the active user's
    /// present password.
    Stage,
    /// The server refused the pending password: another one is made.
    Regenerate,
    /// The journal was lost after the flip: the pending credential is taken from the application Secret.
    Recover,
    /// The store's credential has come into the application Secret: consumers are judged by this time from now on.
    Deliver,
    /// The application Secret, or the store, has gone back to another credential: what comes next is another delivery.
    Withdraw,
    /// The rollout has ended: the wait for sessions begins.
    RollOut,
    /// The running rotation is taken back: another begins in its place, which delivers the credential from before.
    RollBack,
    /// The abort annotation is answered, and no rotation is taken back: there is none, or it is too late.
    CallOff,
    /// The reapply annotation is answered: what had to be set once more has been.
    Reapply,
    /// The accept annotation is answered: the server is what it should be.
    Accept,
    /// The rotation has ended: its credentials are kept, to be checked until the next one begins.
    Finish,
}

impl Action {
    /// One word for metrics, logs and tests.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Record { entry, .. } => match entry {
                Entry::Adopt => "adopt",
                Entry::Reschedule => "reschedule",
                Entry::Stage => "stage",
                Entry::Regenerate => "regenerate",
                Entry::Recover => "recover",
                Entry::Deliver => "deliver",
                Entry::Withdraw => "withdraw",
                Entry::RollOut => "roll_out",
                Entry::RollBack => "roll_back",
                Entry::CallOff => "call_off",
                Entry::Reapply => "reapply",
                Entry::Accept => "accept",
                Entry::Finish => "finish",
            },
            Self::Enlist { .. } => "enlist",
            Self::Reload { .. } => "reload",
            Self::Strike { .. } => "strike",
            Self::SetVerifier { .. } => "set_verifier",
            Self::Propose { .. } => "propose",
            Self::Flip { .. } => "flip",
            Self::Sync { .. } => "sync",
            Self::Restart { .. } => "restart",
            Self::Terminate { .. } => "terminate",
            Self::Retire { .. } => "retire",
        }
    }
}

/// What is waited for. Each says which object to look at and what to type; [`super::project`] puts it into words.
#[derive(Clone, Debug, PartialEq)]
pub enum Waiting {
    /// The policy is suspended.
    Suspended,
    /// The journal cannot be trusted.
    JournalCorrupt(String),
    /// Preflight found something that stands in the way.
    Preflight(Vec<Finding>),
    /// A rotation is asked for in a mode that there is not.
    UnknownMode(String),
    /// The schedule's window is closed until then.
    Window(Timestamp),
    /// As many rotations as may be are under way.
    Place(Taken),
    /// The journals of so many policies, which may have rotations under way.
    Journals(usize),
    /// A login or a write was refused, or could not be tried.
    Refused(Finding),
    /// The password was set and still does not log in.
    NotAccepted,
    /// The server's identity is not that of the server the rotation began on.
    OtherServer {
        /// System identifier that the rotation began on.
        expected: String,
        /// System identifier found.
        found: String,
    },
    /// Outside a rotation, the server does not have what the last one left there.
    Drift(Drift),
    /// Replicas that have not replayed the change of the password.
    Replay {
        /// Which ones, and how far they are.
        behind: Vec<Lag>,
        /// It takes long.
        overdue: bool,
    },
    /// A pooler that was told to read its list, and does not know the new password yet.
    List {
        /// Name of the endpoint.
        endpoint: String,
        /// The list's Secret.
        secret: SecretName,
        /// It takes long.
        overdue: bool,
    },
    /// Every password that was tried is against the server's policy.
    PasswordsRejected(Finding),
    /// The application Secret is gone.
    SecretMissing,
    /// The application Secret names a user, or carries a password, that Tandem did not put there.
    SecretChanged(Option<RoleName>),
    /// The same of the secret in the store.
    StoreChanged(Option<RoleName>),
    /// The operator has not brought the store's credential into the application Secret yet.
    Sync {
        /// How many times it was asked.
        times: u32,
        /// What it says of itself.
        trouble: Option<Finding>,
    },
    /// Reloader is left to restart some consumers, and has not done so yet.
    Reloader {
        /// Which ones.
        left: Vec<ConsumerRef>,
        /// When Tandem restarts them in its stead; none when it never does.
        until: Option<Timestamp>,
        /// It takes longer than `restart.timeout`.
        overdue: bool,
    },
    /// Rollouts.
    Rollout {
        /// Consumers with old pods.
        behind: Vec<Behind>,
        /// It takes longer than `restart.timeout`.
        overdue: bool,
        /// It has failed, and `restart.onFailure` asks for what is not possible any more.
        no_way_back: Option<NoWayBack>,
    },
    /// Room for the connections of the next rollout.
    Room(Crowded),
    /// Sessions of the retiring user.
    Sessions {
        /// Who is left.
        laggards: Vec<Laggard>,
        /// It takes longer than `drain.timeout`.
        overdue: bool,
    },
    /// The quiet time after the last session.
    Quiet,
    /// The old credential is kept valid until then.
    RetireAfter(Timestamp),
    /// The old password was replaced and still logs in.
    NotRetired,
}

/// Why a rotation is not taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoWayBack {
    /// It takes back another one itself.
    RollBack,
    /// Nobody knows the previous password: the journal was lost.
    Unknown,
    /// The server refuses the previous password: it has been retired, or somebody has changed it.
    Refused,
}

/// A rollout for which the server has too little room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crowded {
    /// The consumer that is next.
    pub consumer: ConsumerRef,
    /// Pods more than usual that it brings, with those of the rollouts that run.
    pub pods: u32,
    /// Connections that a pod has, in the mean.
    pub each: u32,
    /// What they meet.
    pub limit: Limit,
}

/// A consumer that still has old pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    /// Which one.
    pub consumer: ConsumerRef,
    /// Its old pods.
    pub old_pods: Vec<String>,
    /// Why it does not go on.
    pub obstacle: Option<String>,
}
