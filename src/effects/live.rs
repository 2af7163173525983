//! The real world: puts the adapters together, and wraps every write in the same fence.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::reflector::Store;
use kube::{Client, ResourceExt as _};
use tokio::time::{Instant, timeout};

use super::ambient::Ambient;
#[cfg(feature = "fault-injection")]
use super::fault::Fault;
use super::kubernetes::Cluster;
use super::kubernetes::journal::{JournalSecret, Material};
use super::kubernetes::secret::{AppSecret, Delivery};
use super::leadership::Leadership;
use super::postgres::{self, Change, Credential, Server, Verifier, Wanted};
use super::series::Series;
use super::{Error, Fresh, Outcome, Seen, World, neighbours};
use crate::api::spec::RetireMode;
use crate::api::{self, RotationPolicy};
use crate::machine::decide::poll_interval;
use crate::machine::facts::{Consumer, Finding, Login, Preflight, Previous, Refused, SecretSeen, Sessions};
use crate::machine::journal::{Journal, Rotation, Trigger};
use crate::machine::project::{Notice, Projection};
use crate::machine::step::Entry;
use crate::machine::{Action, Loaded, Query};
use crate::policy::Policy;
use crate::policy::target::RoleName;
use crate::sensitive::Sensitive;
use crate::telemetry::metrics::Metrics;

/// A write is not begun with less of the lease left than this: it would only be fenced off half-way.
const ENOUGH: Duration = Duration::from_secs(3);
/// Progress that nobody has to act on is shown no more often than this.
const PROGRESS: Duration = Duration::from_secs(5);

/// What all policies share: clients, and observations that may be lost without harm.
pub struct Hands {
    client: Client,
    leadership: Leadership,
    policies: Store<RotationPolicy>,
    identity: String,
    metrics: Arc<Metrics>,
    series: Series,
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
        policies: Store<RotationPolicy>,
        metrics: Arc<Metrics>,
        #[cfg(feature = "fault-injection")] fault: Fault,
    ) -> Self {
        Self {
            client: client.clone(),
            identity: identity.to_owned(),
            leadership,
            policies,
            metrics,
            series: Series::default(),
            shown: Mutex::default(),
            #[cfg(feature = "fault-injection")]
            fault,
        }
    }

    /// The world of one policy, for one turn.
    #[must_use]
    pub fn world(&self, policy: &RotationPolicy) -> Live<'_> {
        let namespace = policy.namespace().unwrap_or_default();
        Live {
            hands: self,
            cluster: Cluster::new(self.client.clone(), &namespace),
            name: policy.name_any(),
            object: None,
            journal: None,
        }
    }
}

/// The world of one policy, for one turn.
pub struct Live<'a> {
    hands: &'a Hands,
    cluster: Cluster,
    name: String,
    object: Option<RotationPolicy>,
    journal: Option<JournalSecret>,
}

impl World for Live<'_> {
    fn now(&self) -> Timestamp {
        Ambient.now()
    }

    async fn load(&mut self) -> Result<Option<Fresh>, Error> {
        let Some(object) = self.cluster.policy(&self.name).await? else {
            return Ok(None);
        };
        let journal = self
            .cluster
            .journal(&self.name, &object.uid().unwrap_or_default())
            .await?;
        let fresh = Fresh {
            object: object.clone(),
            journal: journal.loaded.clone(),
        };
        self.object = Some(object);
        self.journal = Some(journal);
        Ok(Some(fresh))
    }

    async fn look(&mut self, policy: &Policy, query: Query) -> Result<Seen, Error> {
        Ok(match query {
            Query::Secret => Seen::Secret(self.secret(policy).await?.0),
            Query::Preflight => Seen::Preflight(self.preflight(policy).await?),
            Query::Pending => Seen::Pending(self.pending_login(policy).await?),
            Query::Previous => Seen::Previous(self.previous_login(policy).await?),
            Query::Consumers => Seen::Consumers(self.consumers(policy).await?),
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
        #[cfg(feature = "fault-injection")]
        self.hands.fault.before();
        let written = timeout(left, self.write(policy, action, left))
            .await
            .unwrap_or_else(|_| {
                Err(Error::TimedOut {
                    what: format!("the write {label}"),
                    seconds: left.as_secs(),
                })
            });
        #[cfg(feature = "fault-injection")]
        self.hands.fault.after();
        let outcome = match &written {
            Ok(Outcome::Done) => "done",
            Ok(Outcome::Refused(_)) => "refused",
            Err(error) => error.label(),
        };
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

impl Live<'_> {
    /// Tells what a policy leaves behind when it is deleted, and forgets it.
    ///
    /// # Errors
    /// When the Event could not be published; the policy is kept until it could.
    pub async fn farewell(&mut self, object: &RotationPolicy) -> Result<(), Error> {
        let uid = object.uid().unwrap_or_default();
        let running = match self.cluster.journal(&self.name, &uid).await?.loaded {
            Loaded::Valid(journal) => journal.rotation,
            Loaded::Absent | Loaded::Corrupt(_) => None,
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
        self.hands.series.end(&uid);
        self.hands
            .shown
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&uid);
        Ok(())
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

    /// The journal and material of the running rotation, which every write but the first needs.
    fn running(&self) -> Result<(&Journal, &Rotation, &Material), Error> {
        let (journal, rotation) = self
            .rotation()
            .ok_or_else(|| Error::Unusable("no rotation is running".into()))?;
        let material = self
            .material()
            .ok_or_else(|| Error::Unusable("the journal holds no credential".into()))?;
        Ok((journal, rotation, material))
    }

    async fn secret(&self, policy: &Policy) -> Result<(SecretSeen, Option<AppSecret>), Error> {
        let pending = self
            .rotation()
            .zip(self.material())
            .map(|((_, r), m)| (&r.pending, &m.pending_password));
        self.cluster.see(policy, pending).await
    }

    /// The server, or why it cannot even be tried.
    async fn server(&self, policy: &Policy) -> Result<Result<Server, Finding>, Error> {
        let ca = match self.cluster.authority(policy).await? {
            Ok(ca) => ca,
            Err(finding) => return Ok(Err(finding)),
        };
        Ok(Server::new(&policy.database, ca.as_deref()))
    }

    /// The server and its administrator, or why one of them cannot be had.
    async fn administered(&self, policy: &Policy) -> Result<Result<(Server, Credential), Finding>, Error> {
        let server = match self.server(policy).await? {
            Ok(server) => server,
            Err(finding) => return Ok(Err(finding)),
        };
        let admin = self.cluster.administrator(policy).await?;
        Ok(admin.and_then(|admin| match RoleName::new(&admin.user) {
            Ok(user) => Ok((server, Credential { user, password: admin.password })),
            Err(problem) => Err(Finding {
                blocks: true,
                reason: "AdminUnusable",
                message: format!(
                    "Secret {}/{} names no possible administrator: {problem}. Put the right user name under its key {}: kubectl -n {} edit secret {}",
                    policy.namespace,
                    policy.database.admin.secret,
                    policy.database.admin.username_key,
                    policy.namespace,
                    policy.database.admin.secret
                ),
            }),
        }))
    }

    async fn preflight(&self, policy: &Policy) -> Result<Preflight, Error> {
        let (seen, app) = self.secret(policy).await?;
        let active = match &seen {
            SecretSeen::Present { user: Some(user), .. } if policy.pair.contains(user) => Some(user.clone()),
            SecretSeen::Present { .. } | SecretSeen::Missing => None,
        };
        let mut findings = self.cluster.delivery_findings(policy, app.as_ref());
        findings.extend(neighbours::findings(
            policy,
            self.hands.policies.state().iter().map(AsRef::as_ref),
        ));
        let workloads = self.cluster.workloads().await?;
        findings.extend(workloads.findings(policy));
        findings.extend(
            self.cluster
                .access(policy, &workloads.judge(policy, "", None))
                .await?,
        );
        let mut identity = None;
        match self.administered(policy).await? {
            Err(finding) => findings.push(finding),
            Ok((server, admin)) => {
                let password = app.and_then(|app| app.password);
                let credential = active
                    .clone()
                    .zip(password)
                    .map(|(user, password)| Credential { user, password });
                let (found, server_identity) =
                    postgres::preflight(&server, &admin, Wanted::by(policy, credential.as_ref())).await;
                findings.extend(found);
                identity = server_identity;
            }
        }
        findings.sort_by_key(|finding| !finding.blocks);
        Ok(Preflight {
            active,
            identity,
            findings,
        })
    }

    async fn pending_login(&self, policy: &Policy) -> Result<Login, Error> {
        let (_, rotation, material) = self.running()?;
        let credential = Credential {
            user: rotation.pending.clone(),
            password: material.pending_password.clone(),
        };
        let (server, admin) = match self.administered(policy).await? {
            Ok(both) => both,
            Err(finding) => return Ok(Login::Refused(finding)),
        };
        let database = &policy.database;
        Ok(postgres::login(
            &server,
            &credential,
            database.effective_role.as_ref(),
            database.smoke_query.as_deref(),
            Some(&admin),
        )
        .await)
    }

    async fn previous_login(&self, policy: &Policy) -> Result<Previous, Error> {
        let (_, rotation, material) = self.running()?;
        let Some(password) = &material.previous_password else {
            return Ok(Previous::Unknown);
        };
        Ok(match self.server(policy).await? {
            Ok(server) => {
                let last = Credential {
                    user: rotation.retiring.clone(),
                    password: password.clone(),
                };
                postgres::previous(&server, &last).await
            }
            Err(finding) => Previous::Unreachable(finding),
        })
    }

    async fn consumers(&self, policy: &Policy) -> Result<Vec<Consumer>, Error> {
        let (journal, ..) = self.running()?;
        let delivered_at = self.delivered_at(policy).await?;
        let mark = api::restart_mark(&policy.uid, journal.number, delivered_at);
        Ok(self.cluster.workloads().await?.judge(policy, &mark, delivered_at))
    }

    /// When the API server took the delivery; none when what is there was written by somebody else.
    async fn delivered_at(&self, policy: &Policy) -> Result<Option<Timestamp>, Error> {
        Ok(match self.secret(policy).await?.0 {
            SecretSeen::Present { delivered, .. } => delivered.map(|delivered| delivered.at),
            SecretSeen::Missing => None,
        })
    }

    async fn sessions(&self, policy: &Policy) -> Result<Sessions, Error> {
        let (journal, rotation, _) = self.running()?;
        let (server, admin) = match self.administered(policy).await? {
            Ok(both) => both,
            Err(finding) => return Ok(Sessions::Unreachable(finding)),
        };
        let mut laggards = match postgres::sessions(&server, &admin, &rotation.retiring).await {
            Ok(laggards) => laggards,
            Err(finding) => return Ok(Sessions::Unreachable(finding)),
        };
        if !laggards.is_empty() {
            let workloads = self.cluster.workloads().await?;
            for laggard in &mut laggards {
                laggard.pod = workloads.locate(&laggard.client_address);
            }
        }
        // Generous, since a poll itself takes time; far less than a client needs to come, work and go unseen twice.
        let gap = Duration::try_from(poll_interval(policy.drain.quiet_for) * 2).unwrap_or_default()
            + Duration::from_secs(5);
        let quiet = self
            .hands
            .series
            .poll(&policy.uid, journal.number, laggards.is_empty(), gap, self.now());
        Ok(Sessions::Counted { laggards, quiet })
    }

    async fn write(&self, policy: &Policy, action: &Action, left: Duration) -> Result<Outcome, Error> {
        match action {
            Action::Record { entry, next } => self.record(policy, *entry, next).await,
            Action::SetVerifier { user } => self.set_verifier(policy, user, left).await,
            Action::Flip { version } => {
                let (journal, rotation, material) = self.running()?;
                let nonce = match &rotation.trigger {
                    Trigger::RotateNow(nonce) => Some(nonce.as_str()),
                    Trigger::Schedule(_) | Trigger::CatchUp(_) | Trigger::Recovery => {
                        journal.handled.as_deref()
                    }
                };
                let delivery = Delivery {
                    number: journal.number,
                    nonce,
                    version,
                };
                self.cluster
                    .flip(policy, delivery, &rotation.pending, &material.pending_password)
                    .await
            }
            Action::Restart { consumer, uid } => {
                let (journal, ..) = self.running()?;
                let delivered_at = self.delivered_at(policy).await?;
                let mark = api::restart_mark(&policy.uid, journal.number, delivered_at);
                self.cluster
                    .restart(consumer, uid, &api::restart_key(&policy.name), &mark)
                    .await
            }
            Action::Terminate { user } => match self.administered(policy).await? {
                Ok((server, admin)) => postgres::terminate(&server, &admin, user, left).await,
                Err(finding) => Ok(Outcome::Refused(Refused::Otherwise(finding))),
            },
            Action::Retire { user, mode } => self.retire(policy, user, *mode, left).await,
        }
    }

    async fn record(&self, policy: &Policy, entry: Entry, next: &Journal) -> Result<Outcome, Error> {
        let Some(journal) = &self.journal else {
            return Err(Error::Unusable("the journal was not loaded".into()));
        };
        let material = match entry {
            Entry::Adopt | Entry::Reschedule | Entry::Finish => None,
            Entry::RollOut => self.material().cloned(),
            Entry::Stage => Some(self.stage(policy, next).await?),
            Entry::Recover => Some(self.recover(policy, next).await?),
            Entry::Regenerate => {
                let (pending_password, pending_verifier) = fresh_password(policy);
                let (_, _, old) = self.running()?;
                Some(Material {
                    pending_password,
                    pending_verifier,
                    ..old.clone()
                })
            }
        };
        self.cluster
            .record(policy, journal, next, material.as_ref())
            .await
    }

    /// A new credential for the standby, a verifier that nobody has the password of for the active user, and the
    /// active user's present password, to prove at the end that it is refused.
    async fn stage(&self, policy: &Policy, next: &Journal) -> Result<Material, Error> {
        let present = self.delivered_password(policy, next).await?;
        let (pending_password, pending_verifier) = fresh_password(policy);
        Ok(Material {
            pending_password,
            pending_verifier,
            retiring_verifier: fresh_password(policy).1,
            previous_password: Some(present),
        })
    }

    /// What was delivered is the pending credential; the old password is not known any more.
    async fn recover(&self, policy: &Policy, next: &Journal) -> Result<Material, Error> {
        let present = self.delivered_password(policy, next).await?;
        let pending_verifier = Verifier::compute(&present).sensitive().clone();
        Ok(Material {
            pending_password: present,
            pending_verifier,
            retiring_verifier: fresh_password(policy).1,
            previous_password: None,
        })
    }

    /// The password in the application Secret, as long as that still names the user the journal is about to rely on.
    async fn delivered_password(&self, policy: &Policy, next: &Journal) -> Result<Sensitive, Error> {
        let expected = next.rotation.as_ref().map(|r| match r.trigger {
            Trigger::Recovery => &r.pending,
            Trigger::RotateNow(_) | Trigger::Schedule(_) | Trigger::CatchUp(_) => &r.retiring,
        });
        match self.secret(policy).await? {
            (
                SecretSeen::Present { user: Some(user), .. },
                Some(AppSecret {
                    password: Some(password),
                    ..
                }),
            ) if Some(&user) == expected => Ok(password),
            (SecretSeen::Present { .. } | SecretSeen::Missing, _) => Err(Error::Conflict {
                what: format!("Secret {}/{}", policy.namespace, policy.delivery.target.secret),
            }),
        }
    }

    async fn set_verifier(&self, policy: &Policy, user: &RoleName, left: Duration) -> Result<Outcome, Error> {
        let (_, rotation, material) = self.running()?;
        // Whatever was decided above: the user that applications are told to be is changed only to the password that
        // they are told to use.
        match self.secret(policy).await?.0 {
            SecretSeen::Present {
                carries_pending: true,
                ..
            } => {}
            SecretSeen::Present {
                user: Some(named), ..
            } if named != *user => {}
            SecretSeen::Present { .. } | SecretSeen::Missing => return Ok(named_by_secret(policy, user)),
        }
        // A user that was retired with NOLOGIN gets its right to log in back with its new password, in one statement.
        let login = (policy.retire.mode == RetireMode::NoLogin).then_some(true);
        self.change(policy, user, &material.pending_verifier, login, rotation, left)
            .await
    }

    async fn retire(
        &self,
        policy: &Policy,
        user: &RoleName,
        mode: RetireMode,
        left: Duration,
    ) -> Result<Outcome, Error> {
        let (_, rotation, material) = self.running()?;
        match self.secret(policy).await?.0 {
            SecretSeen::Present {
                carries_pending: true,
                user: Some(named),
                ..
            } if named != *user => {}
            SecretSeen::Present { .. } | SecretSeen::Missing => return Ok(named_by_secret(policy, user)),
        }
        let login = (mode == RetireMode::NoLogin).then_some(false);
        self.change(policy, user, &material.retiring_verifier, login, rotation, left)
            .await
    }

    async fn change(
        &self,
        policy: &Policy,
        user: &RoleName,
        verifier: &Sensitive,
        login: Option<bool>,
        rotation: &Rotation,
        left: Duration,
    ) -> Result<Outcome, Error> {
        let (server, admin) = match self.administered(policy).await? {
            Ok(both) => both,
            Err(finding) => return Ok(Outcome::Refused(Refused::Otherwise(finding))),
        };
        let verifier = Verifier::parse(verifier.expose())
            .map_err(|_| Error::Unusable("the journal's verifier is not a SCRAM-SHA-256 verifier".into()))?;
        let change = Change {
            user,
            verifier: &verifier,
            login,
            expected: rotation.identity.as_ref(),
            time_left: left,
        };
        postgres::change(&server, &admin, change).await
    }
}

fn fresh_password(policy: &Policy) -> (Sensitive, Sensitive) {
    let password = Ambient.password(&policy.password);
    let verifier = Verifier::compute(&password).sensitive().clone();
    (password, verifier)
}

fn named_by_secret(policy: &Policy, user: &RoleName) -> Outcome {
    Outcome::Refused(Refused::Otherwise(Finding {
        blocks: true,
        reason: "UserInUse",
        message: format!(
            "refusing to change user {user}: Secret {}/{} names it now, or carries a password that Tandem did not put there. See who wrote it: kubectl -n {} get secret {} --show-managed-fields -o yaml",
            policy.namespace, policy.delivery.target.secret, policy.namespace, policy.delivery.target.secret
        ),
    }))
}
