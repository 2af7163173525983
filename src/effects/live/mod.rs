//! The real world: puts the adapters together, and wraps every write in the same fence.

mod drain;
mod endpoints;
mod guards;
mod kept;
mod looks;
mod unsettled;
mod userlists;
mod writes;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::{Client, ResourceExt as _};
use tokio::time::{Instant, timeout};

use super::ambient::Ambient;
#[cfg(feature = "fault-injection")]
use super::fault::Fault;
use super::kubernetes::Cluster;
use super::kubernetes::journal::{JournalSecret, Material};
use super::leadership::Leadership;
use super::places::{Places, Stand};
use super::series::Series;
use super::store::{Document, Stores};
use super::{Error, Fresh, Outcome, Seen, World};
use crate::api::RotationPolicy;
use crate::machine::journal::{Journal, Rotation};
use crate::machine::project::{Notice, Projection};
use crate::machine::step::Entry;
use crate::machine::{Action, Loaded, Query};
use crate::policy::Policy;
use crate::policy::target::RoleName;
use crate::telemetry::metrics::Metrics;
use kept::{Passed, result};
use unsettled::Unsettled;

/// A write is not begun with less of the lease left than this: it would only be fenced off half-way.
const ENOUGH: Duration = Duration::from_secs(3);
/// Progress that nobody has to act on is shown no more often than this.
const PROGRESS: Duration = Duration::from_secs(5);

/// What all policies share: clients, and observations that may be lost without harm.
pub struct Hands {
    client: Client,
    leadership: Leadership,
    places: Places,
    identity: String,
    metrics: Arc<Metrics>,
    stores: Stores,
    series: Series,
    unsettled: Unsettled,
    passed: Passed,
    shown: Mutex<HashMap<String, Instant>>,
    #[cfg(feature = "fault-injection")]
    fault: Fault,
}

impl Hands {
    /// Hands for one process.
    #[must_use]
    pub fn new(
        client: &Client,
        identity: &str,
        leadership: Leadership,
        places: Places,
        stores: Stores,
        metrics: Arc<Metrics>,
        #[cfg(feature = "fault-injection")] fault: Fault,
    ) -> Self {
        Self {
            client: client.clone(),
            identity: identity.to_owned(),
            leadership,
            places,
            metrics,
            stores,
            series: Series::default(),
            unsettled: Unsettled::default(),
            passed: Passed::default(),
            shown: Mutex::default(),
            #[cfg(feature = "fault-injection")]
            fault,
        }
    }

    /// A turn of the policy has failed, perhaps before it began.
    pub fn failed(&self, policy: &RotationPolicy) {
        self.places.unreached(policy);
    }

    /// The world of one policy, for one turn.
    #[must_use]
    pub fn world(&self, policy: &RotationPolicy) -> Live<'_> {
        let namespace = policy.namespace().unwrap_or_default();
        Live {
            hands: self,
            cluster: Cluster::new(self.client.clone(), &namespace),
            name: policy.name_any(),
            stand: self.places.stand(policy),
            object: None,
            journal: None,
            document: None,
            named: None,
        }
    }
}

/// The world of one policy, for one turn.
pub struct Live<'a> {
    hands: &'a Hands,
    cluster: Cluster,
    name: String,
    stand: Stand<'a>,
    object: Option<RotationPolicy>,
    journal: Option<JournalSecret>,
    /// What the store said is current, in this turn. A version never changes, no write but the flip makes another one
    /// current, and the flip is guarded by it, so it may serve until then. Before anybody is retired it is read anew.
    document: Option<Document>,
    /// Whom the application Secret named when it was last looked at in this turn.
    named: Option<RoleName>,
}

impl World for Live<'_> {
    fn now(&self) -> Timestamp {
        Ambient.now()
    }

    async fn load(&mut self) -> Result<Option<Fresh>, Error> {
        let Some(object) = self.cluster.policy(&self.name).await? else {
            self.stand.read(None, &Loaded::Absent);
            return Ok(None);
        };
        let uid = object.uid().unwrap_or_default();
        self.object = Some(object.clone());
        let journal = match self.cluster.journal(&self.name, &uid).await {
            Ok(journal) => journal,
            Err(error) => {
                self.stand.unreadable();
                return Err(error);
            }
        };
        self.stand.read(Some(&object), &journal.loaded);
        let fresh = Fresh {
            object,
            journal: journal.loaded.clone(),
        };
        self.journal = Some(journal);
        Ok(Some(fresh))
    }

    fn object(&self) -> Option<&RotationPolicy> {
        self.object.as_ref()
    }

    async fn look(&mut self, policy: &Policy, query: Query) -> Result<Seen, Error> {
        Ok(match query {
            Query::Secret => {
                let (seen, app) = self.secret(policy).await?;
                self.named = app.and_then(|app| app.user);
                Seen::Secret(seen)
            }
            Query::Store => Seen::Store(self.store(policy).await?),
            Query::Operator => Seen::Operator(self.operator(policy).await?),
            Query::Place => Seen::Place(self.stand.ask(policy, self.now())),
            Query::Preflight => {
                let seen = self.preflight(policy).await?;
                self.hands.passed.note(policy, seen.passed(), self.now());
                Seen::Preflight(seen)
            }
            Query::Pending => Seen::Pending(self.pending_login(policy).await?),
            Query::Endpoints => Seen::Endpoints(self.endpoints(policy).await?),
            Query::Lists => Seen::Lists(self.lists(policy).await?),
            Query::Previous => Seen::Previous(self.previous_login(policy).await?),
            Query::Kept => {
                let seen = self.kept(policy).await?;
                self.hands.metrics.check(result(&seen));
                Seen::Kept(seen)
            }
            Query::Consumers => Seen::Consumers(self.consumers(policy).await?),
            Query::Room => Seen::Room(self.room(policy).await?),
            Query::Sessions => Seen::Sessions(self.sessions(policy).await?),
        })
    }

    async fn perform(&mut self, policy: &Policy, action: &Action) -> Result<Outcome, Error> {
        let left = self
            .hands
            .leadership
            .time_left()
            .filter(|left| *left > ENOUGH)
            .ok_or(Error::Fenced)?;
        let label = action.label();
        if matches!(action, Action::Flip { .. }) && self.running()?.1.undoes.is_some() {
            // The user that is put back may be the one whose retirement was on its way.
            self.hands.unsettled.check(&policy.uid)?;
        }
        if delivers(action) {
            // Somebody had put the old credential back, or it is the first delivery: what was quiet before says
            // nothing about the pods that took it.
            self.hands.series.end(&policy.uid);
        }
        if begins(action) {
            self.stand.begins();
        }
        #[cfg(feature = "fault-injection")]
        self.hands.fault.before().await;
        let written = timeout(left, self.write(policy, action, left))
            .await
            .unwrap_or_else(|_| {
                Err(Error::TimedOut {
                    what: format!("the write {label}"),
                    seconds: left.as_secs(),
                })
            });
        self.hands.unsettled.note(&policy.uid, action, &written, left);
        #[cfg(feature = "fault-injection")]
        self.hands.fault.after().await;
        if matches!(action, Action::Flip { .. }) {
            self.document = None;
        }
        let outcome = match &written {
            Ok(Outcome::Done) => "done",
            Ok(Outcome::Refused(_)) => "refused",
            Err(error) => error.label(),
        };
        if let (
            Ok(Outcome::Done),
            Action::Record {
                entry: Entry::Stage | Entry::RollBack,
                next,
            },
        ) = (&written, action)
            && let Some(rotation) = &next.rotation
        {
            self.hands.metrics.rotation(rotation.trigger.as_str());
        }
        self.hands.metrics.write(label, outcome);
        tracing::info!(action = label, outcome, "write");
        written
    }

    async fn publish(&mut self, projection: &Projection, urgent: bool) -> Result<(), Error> {
        let Some(object) = &self.object else { return Ok(()) };
        if self.hands.leadership.time_left().is_none() {
            return Err(Error::Fenced);
        }
        let uid = object.uid().unwrap_or_default();
        let lately = || {
            let shown = self.hands.shown.lock().unwrap_or_else(PoisonError::into_inner);
            shown.get(&uid).is_some_and(|at| at.elapsed() < PROGRESS)
        };
        if !urgent && lately() {
            return Ok(());
        }
        self.cluster
            .publish(object, projection, &self.hands.identity)
            .await?;
        self.hands
            .shown
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(uid, Instant::now());
        Ok(())
    }
}

/// Whether pods that start from now on may hold another credential than those before.
fn delivers(action: &Action) -> bool {
    match action {
        Action::Flip { .. } => true,
        Action::Record { entry, .. } => matches!(entry, Entry::Deliver | Entry::Withdraw),
        Action::Enlist { .. }
        | Action::Reload { .. }
        | Action::Strike { .. }
        | Action::SetVerifier { .. }
        | Action::Propose { .. }
        | Action::Sync { .. }
        | Action::Restart { .. }
        | Action::Terminate { .. }
        | Action::Retire { .. } => false,
    }
}

/// Whether it begins a rotation.
fn begins(action: &Action) -> bool {
    match action {
        Action::Record { entry, .. } => *entry == Entry::Stage,
        Action::Enlist { .. }
        | Action::Reload { .. }
        | Action::Strike { .. }
        | Action::SetVerifier { .. }
        | Action::Propose { .. }
        | Action::Flip { .. }
        | Action::Sync { .. }
        | Action::Restart { .. }
        | Action::Terminate { .. }
        | Action::Retire { .. } => false,
    }
}

impl Live<'_> {
    /// Tells what a policy leaves behind when it is deleted, and forgets it. What cannot be read is not told, and holds
    /// up no deletion: the rights in a namespace often go together with its policies.
    pub async fn farewell(&mut self, object: &RotationPolicy) {
        let uid = object.uid().unwrap_or_default();
        let running = match self
            .cluster
            .journal(&self.name, &uid)
            .await
            .map(|read| read.loaded)
        {
            Ok(Loaded::Valid(journal)) => journal.rotation,
            Ok(Loaded::Absent | Loaded::Corrupt(_)) => None,
            Err(error) => {
                tracing::warn!(%error, "deleted without a look at its journal");
                None
            }
        };
        if let Some(rotation) = running {
            let note = format!(
                "the policy was deleted during a rotation from {} to {}: both users' passwords are valid as far as it had come, and nothing replaces the old one any more",
                rotation.retiring, rotation.pending
            );
            let notice = Notice {
                reason: "RotationAbandoned",
                note,
                warning: true,
            };
            self.cluster.tell(object, &[notice], &self.hands.identity).await;
        }
        self.stand.read(None, &Loaded::Absent);
        self.hands.series.end(&uid);
        self.hands.unsettled.forget(&uid);
        self.hands.passed.forget(&uid);
        self.hands
            .shown
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&uid);
    }

    fn rotation(&self) -> Option<(&Journal, &Rotation)> {
        match &self.journal.as_ref()?.loaded {
            Loaded::Valid(journal) => Some((journal, journal.rotation.as_ref()?)),
            Loaded::Absent | Loaded::Corrupt(_) => None,
        }
    }

    fn material(&self) -> Option<&Material> {
        self.journal.as_ref()?.material.as_ref()
    }

    /// The credentials of the rotation that runs or ended last.
    fn credentials(&self) -> Result<&Material, Error> {
        self.material()
            .ok_or_else(|| Error::Unusable("the journal holds no credential".into()))
    }

    /// The journal and material of the running rotation, which every write but the first needs.
    fn running(&self) -> Result<(&Journal, &Rotation, &Material), Error> {
        let (journal, rotation) = self
            .rotation()
            .ok_or_else(|| Error::Unusable("no rotation is running".into()))?;
        Ok((journal, rotation, self.credentials()?))
    }
}
