//! Hands: the only input and output. The machine speaks to the world through [`World`], and so does every test.

pub mod ambient;
#[cfg(feature = "fault-injection")]
pub mod fault;
pub mod kubernetes;
pub mod leadership;
pub mod live;
mod neighbours;
pub mod places;
pub mod postgres;
mod series;
mod shell;
pub mod store;

use std::future::Future;

use jiff::Timestamp;

use crate::api::RotationPolicy;
use crate::machine::endpoints::EndpointSeen;
use crate::machine::facts::{
    Consumer, Facts, Finding, KeptSeen, Login, OperatorSeen, Preflight, Previous, Refused, Room, SecretSeen,
    Sessions, StoreSeen,
};
use crate::machine::place::Place;
use crate::machine::project::Projection;
use crate::machine::userlists::ListSeen;
use crate::machine::{Action, Loaded, Query};
use crate::policy::Policy;

/// Everything outside, for one policy. `&mut self`: an implementation keeps what it loaded, so that a write can
/// carry the version of what was read.
pub trait World: Send {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// Reads the policy and its journal afresh, past every cache; nothing when the policy is gone.
    fn load(&mut self) -> impl Future<Output = Result<Option<Fresh>, Error>> + Send;

    /// The policy as it was last read, also when its journal could not be read after it: so that people can be told.
    fn object(&self) -> Option<&RotationPolicy>;

    /// Answers one question; changes nothing.
    fn look(&mut self, policy: &Policy, query: Query) -> impl Future<Output = Result<Seen, Error>> + Send;

    /// Makes one write, guarded. After an error the outcome is unknown, and is found out by looking.
    fn perform(
        &mut self,
        policy: &Policy,
        action: &Action,
    ) -> impl Future<Output = Result<Outcome, Error>> + Send;

    /// Shows people where things stand. Nothing depends on it; what is not urgent may be left out when something was
    /// shown a moment ago.
    fn publish(
        &mut self,
        projection: &Projection,
        urgent: bool,
    ) -> impl Future<Output = Result<(), Error>> + Send;
}

/// What is written and remembered, read afresh.
#[derive(Clone, Debug, PartialEq)]
pub struct Fresh {
    /// The policy object.
    pub object: RotationPolicy,
    /// Its journal.
    pub journal: Loaded,
}

/// The answer to a [`Query`].
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// To [`Query::Secret`].
    Secret(SecretSeen),
    /// To [`Query::Store`].
    Store(StoreSeen),
    /// To [`Query::Operator`].
    Operator(OperatorSeen),
    /// To [`Query::Place`].
    Place(Place),
    /// To [`Query::Preflight`].
    Preflight(Preflight),
    /// To [`Query::Pending`].
    Pending(Login),
    /// To [`Query::Endpoints`].
    Endpoints(Vec<EndpointSeen>),
    /// To [`Query::Lists`].
    Lists(Vec<ListSeen>),
    /// To [`Query::Previous`].
    Previous(Previous),
    /// To [`Query::Kept`].
    Kept(KeptSeen),
    /// To [`Query::Consumers`].
    Consumers(Vec<Consumer>),
    /// To [`Query::Room`].
    Room(Result<Room, Finding>),
    /// To [`Query::Sessions`].
    Sessions(Sessions),
}

/// How a write ended, when that is known.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It was made.
    Done,
    /// It was refused for good and nothing was changed.
    Refused(Refused),
}

/// A look or a write that did not come to an end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The guard of a write did not hold: somebody else has written. What was seen is out of date.
    #[error("{what} was changed by somebody else meanwhile; looking again")]
    Conflict {
        /// The object.
        what: String,
    },
    /// This process does not hold the lease, or not for long enough to finish the write.
    #[error("not writing: this replica does not hold the lease")]
    Fenced,
    /// It did not end in time; whether a write was made is unknown.
    #[error("{what} did not end within {seconds} s")]
    TimedOut {
        /// The operation.
        what: String,
        /// The limit.
        seconds: u64,
    },
    /// The API server answered with an error, or not at all.
    #[error("failed to {what}: {}", kubernetes::said(source))]
    Kubernetes {
        /// The operation.
        what: String,
        /// The answer.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server does not allow it, or does not take what was sent; nothing was changed.
    #[error("{}", .0.message)]
    Refused(Finding),
    /// The database could not be asked; the text is free of values.
    #[error("failed to {what}: {detail}")]
    Postgres {
        /// The operation.
        what: String,
        /// SQLSTATE and what it means.
        detail: String,
    },
    /// A store could not be asked, or whether it has made a write is unknown; the text is free of values.
    #[error("{message}")]
    Store {
        /// Stable `CamelCase` reason.
        reason: &'static str,
        /// What happened, to which secret, and the next command to type.
        message: String,
    },
    /// An object is not what it must be.
    #[error("{0}")]
    Unusable(String),
    /// A rule that holds before every write did not.
    #[error(transparent)]
    Broken(#[from] crate::machine::invariant::Broken),
}

impl Error {
    /// Bounded label for metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Conflict { .. } => "conflict",
            Self::Fenced => "fenced",
            Self::TimedOut { .. } => "timed_out",
            Self::Kubernetes { .. } => "kubernetes",
            Self::Refused(_) => "refused",
            Self::Postgres { .. } => "postgres",
            Self::Store { .. } => "store",
            Self::Unusable(_) => "unusable",
            Self::Broken(_) => "broken",
        }
    }
}

impl Error {
    /// Reason for a condition; none for what the next turn settles by itself.
    #[must_use]
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Conflict { .. } | Self::Fenced => None,
            Self::TimedOut { .. } => Some("TimedOut"),
            Self::Kubernetes { .. } => Some("KubernetesFailed"),
            Self::Postgres { .. } => Some("PostgresFailed"),
            Self::Store { reason, .. } => Some(reason),
            Self::Unusable(_) => Some("Unusable"),
            Self::Refused(finding) => Some(finding.reason),
            Self::Broken(_) => Some("DefectFound"),
        }
    }
}

impl Facts {
    /// Takes in what was seen.
    pub fn absorb(&mut self, seen: Seen) {
        match seen {
            Seen::Secret(secret) => self.secret = Some(secret),
            Seen::Store(store) => self.store = Some(store),
            Seen::Operator(operator) => self.operator = Some(operator),
            Seen::Place(place) => self.place = Some(place),
            Seen::Preflight(preflight) => self.preflight = Some(preflight),
            Seen::Pending(login) => self.pending = Some(login),
            Seen::Endpoints(endpoints) => self.endpoints = Some(endpoints),
            Seen::Lists(lists) => self.lists = Some(lists),
            Seen::Previous(previous) => self.previous = Some(previous),
            Seen::Kept(kept) => self.kept = Some(kept),
            Seen::Consumers(consumers) => self.consumers = Some(consumers),
            Seen::Room(room) => self.room = Some(room),
            Seen::Sessions(sessions) => self.sessions = Some(sessions),
        }
    }
}
