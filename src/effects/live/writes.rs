//! The machine's actions, each one write.

use std::time::Duration;

use tokio::time::Instant;

use super::Live;
use super::guards::Purpose;
use super::looks::credential;
use crate::api;
use crate::api::spec::{RetireMode, TargetKind};
use crate::effects::ambient::Ambient;
use crate::effects::kubernetes::journal::Material;
use crate::effects::kubernetes::secret::Delivery;
use crate::effects::postgres::{self, Change, Credential, Means, Verifier};
use crate::effects::store::{Store as _, version_id};
use crate::effects::{Error, Outcome, World as _};
use crate::machine::Action;
use crate::machine::facts::{Refused, Restarter};
use crate::machine::journal::{Journal, Trigger};
use crate::machine::step::Entry;
use crate::policy::target::{ConsumerKind, RoleName};
use crate::policy::{Policy, StoredSecret};
use crate::sensitive::Sensitive;

impl Live<'_> {
    pub(super) async fn write(
        &mut self,
        policy: &Policy,
        action: &Action,
        left: Duration,
    ) -> Result<Outcome, Error> {
        match action {
            Action::Record { entry, next } => self.record(policy, *entry, next).await,
            Action::Enlist {
                endpoint,
                user,
                version,
            } => {
                self.put_into_list(policy, Purpose::Serve, endpoint, user, version)
                    .await
            }
            Action::Reload { endpoint } => self.reload(policy, endpoint).await,
            Action::Strike {
                endpoint,
                user,
                version,
            } => {
                self.put_into_list(policy, Purpose::Retire, endpoint, user, version)
                    .await
            }
            Action::SetVerifier { user } => self.set_verifier(policy, user, left).await,
            Action::Propose { base } => self.propose(policy, base, left).await,
            Action::Flip { version } if policy.delivery.source().is_some() => {
                self.promote(policy, version, left).await
            }
            Action::Flip { version } => {
                let (journal, rotation, material) = self.running()?;
                let nonce = match &rotation.trigger {
                    Trigger::RotateNow(nonce) => Some(nonce.as_str()),
                    Trigger::Schedule(_)
                    | Trigger::CatchUp(_)
                    | Trigger::Recovery
                    | Trigger::RollBack(_)
                    | Trigger::Abort(_) => journal.handled.as_deref(),
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
            Action::Sync { version, times } => {
                let (journal, ..) = self.running()?;
                let request = api::sync_request(&policy.uid, journal.number, *times, self.now());
                self.cluster.ask_sync(version, &request).await
            }
            Action::Restart {
                consumer,
                uid,
                form: Restarter::Reloader,
            } => self.cluster.stand_in(policy, consumer, uid, self.now()).await,
            Action::Restart {
                consumer,
                uid,
                form: Restarter::Tandem,
            } => {
                let (journal, ..) = self.running()?;
                let number = journal.number;
                // What was delivered is gone since it was looked at. It will be delivered again, and a restart before that
                // would be one too many.
                let landing = self.landing(policy).await?.ok_or_else(|| Error::Conflict {
                    what: self
                        .cluster
                        .named("Secret", policy.delivery.target.secret.as_str()),
                })?;
                let mark = api::restart_mark(&policy.uid, number, Some(&landing.id));
                let key = api::restart_key(&policy.name);
                if consumer.kind == ConsumerKind::Workload(TargetKind::Rollout) {
                    let delivered_at = Some(landing.at);
                    let name = &consumer.name;
                    return self
                        .cluster
                        .restart_rollout(name, uid, &key, &mark, delivered_at)
                        .await;
                }
                self.cluster.restart(consumer, uid, &key, &mark).await
            }
            Action::Terminate { user } => self.terminate(policy, user, left).await,
            Action::Retire { user, mode } => self.retire(policy, user, *mode, left).await,
        }
    }

    async fn propose(&mut self, policy: &Policy, base: &str, left: Duration) -> Result<Outcome, Error> {
        let source = source(policy)?;
        let document = match self.document(source).await? {
            Ok(document) => document,
            Err(finding) => return Ok(Outcome::Refused(Refused::Otherwise(finding))),
        };
        if document.version() != base {
            return Err(Error::Conflict {
                what: format!("secret {}", source.id),
            });
        }
        let (journal, rotation, material) = self.running()?;
        let version = version_id(&policy.uid, journal.number, rotation.rejected, base);
        let password = &material.pending_password;
        let store = self.hands.stores.open(source);
        store
            .propose(&document, &rotation.pending, password, &version, left)
            .await
    }

    async fn promote(&self, policy: &Policy, base: &str, left: Duration) -> Result<Outcome, Error> {
        let (journal, rotation, material) = self.running()?;
        let version = version_id(&policy.uid, journal.number, rotation.rejected, base);
        let password = &material.pending_password;
        let store = self.hands.stores.open(source(policy)?);
        store
            .promote(base, &rotation.pending, password, &version, left)
            .await
    }

    async fn record(&mut self, policy: &Policy, entry: Entry, next: &Journal) -> Result<Outcome, Error> {
        let material = match entry {
            Entry::Adopt => None,
            Entry::Reschedule
            | Entry::Deliver
            | Entry::Withdraw
            | Entry::RollOut
            | Entry::CallOff
            | Entry::Reapply
            | Entry::Finish => self.material().cloned(),
            Entry::Accept => self.material().map(|old| {
                let watched = next.kept.as_ref().is_some_and(|kept| kept.retired.is_some());
                let last = old.previous_password.clone();
                Material {
                    previous_password: last.filter(|_| watched),
                    ..old.clone()
                }
            }),
            Entry::RollBack => Some(self.turned_round(policy)?),
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
        let Some(journal) = &self.journal else {
            return Err(Error::Unusable("the journal was not loaded".into()));
        };
        self.cluster
            .record(policy, journal, next, material.as_ref())
            .await
    }

    /// A new credential for the standby, a verifier that nobody has the password of for the active user, and the
    /// active user's present password, to prove at the end that it is refused.
    async fn stage(&mut self, policy: &Policy, next: &Journal) -> Result<Material, Error> {
        let present = self.delivered_password(policy, next).await?;
        let (pending_password, pending_verifier) = fresh_password(policy);
        Ok(Material {
            pending_password,
            pending_verifier,
            retiring_verifier: fresh_password(policy).1,
            previous_password: Some(present),
        })
    }

    /// The credential from before is the pending one, and the one that was pending goes.
    fn turned_round(&self, policy: &Policy) -> Result<Material, Error> {
        let (_, _, running) = self.running()?;
        let Some(before) = &running.previous_password else {
            return Err(Error::Unusable(
                "the journal does not hold the previous password".into(),
            ));
        };
        Ok(Material {
            pending_password: before.clone(),
            pending_verifier: Verifier::compute(before).sensitive().clone(),
            retiring_verifier: fresh_password(policy).1,
            previous_password: Some(running.pending_password.clone()),
        })
    }

    /// What was delivered is the pending credential; the old password is not known any more.
    async fn recover(&mut self, policy: &Policy, next: &Journal) -> Result<Material, Error> {
        let present = self.delivered_password(policy, next).await?;
        let pending_verifier = Verifier::compute(&present).sensitive().clone();
        Ok(Material {
            pending_password: present,
            pending_verifier,
            retiring_verifier: fresh_password(policy).1,
            previous_password: None,
        })
    }

    /// The password in the source of truth, as long as that still names the user the journal is about to rely on.
    async fn delivered_password(&mut self, policy: &Policy, next: &Journal) -> Result<Sensitive, Error> {
        let expected = next.rotation.as_ref().map(|r| match r.trigger {
            Trigger::Recovery => &r.pending,
            Trigger::RotateNow(_)
            | Trigger::Schedule(_)
            | Trigger::CatchUp(_)
            | Trigger::RollBack(_)
            | Trigger::Abort(_) => &r.retiring,
        });
        let (what, credential) = match policy.delivery.source() {
            None => {
                let app = self.secret(policy).await?.1;
                let what = format!("Secret {}/{}", policy.namespace, policy.delivery.target.secret);
                (what, app.as_ref().and_then(credential))
            }
            Some(source) => {
                let document = self.document(source).await?.ok();
                let credential = document.and_then(|document| {
                    let user = RoleName::new(document.user()).ok()?;
                    let password = document.password().clone();
                    Some(Credential { user, password })
                });
                (format!("secret {}", source.id), credential)
            }
        };
        match credential {
            Some(credential) if Some(&credential.user) == expected => Ok(credential.password),
            Some(_) | None => Err(Error::Conflict { what }),
        }
    }

    async fn set_verifier(
        &mut self,
        policy: &Policy,
        user: &RoleName,
        left: Duration,
    ) -> Result<Outcome, Error> {
        // Whatever was decided above: the user that applications are told to be is changed only to the password that
        // they are told to use.
        if let Some(refusal) = self.in_use(policy, user, Purpose::Serve).await? {
            return Ok(refusal);
        }
        let material = self.credentials()?;
        // A user that was retired with NOLOGIN gets its right to log in back with its new password, in one statement.
        let login = (policy.retire.mode == RetireMode::NoLogin).then_some(true);
        self.change(policy, user, &material.pending_verifier, login, left)
            .await
    }

    async fn retire(
        &mut self,
        policy: &Policy,
        user: &RoleName,
        mode: RetireMode,
        left: Duration,
    ) -> Result<Outcome, Error> {
        // Afresh, whatever was seen in this turn: this is the write that cannot be taken back.
        self.document = None;
        if let Some(refusal) = self.in_use(policy, user, Purpose::Retire).await? {
            return Ok(refusal);
        }
        let material = self.credentials()?;
        let login = (mode == RetireMode::NoLogin).then_some(false);
        self.change(policy, user, &material.retiring_verifier, login, left)
            .await
    }

    /// Everywhere, one server after the other: which of them were reached before a failure makes no difference, for
    /// whoever is left is counted again.
    async fn terminate(&self, policy: &Policy, user: &RoleName, left: Duration) -> Result<Outcome, Error> {
        let until = Instant::now() + left;
        let refused = |finding| Ok(Outcome::Refused(Refused::Otherwise(finding)));
        let (primary, admin) = match self.administered(policy).await? {
            Ok(both) => both,
            Err(finding) => return refused(finding),
        };
        let servers = match self.everywhere(policy, primary, &admin.user).await? {
            Ok(servers) => servers,
            Err(finding) => return refused(finding),
        };
        for server in &servers {
            let left = until.saturating_duration_since(Instant::now());
            match postgres::terminate(server, &admin, user, left).await? {
                Outcome::Done => {}
                refused @ Outcome::Refused(_) => return Ok(refused),
            }
        }
        Ok(Outcome::Done)
    }

    async fn change(
        &self,
        policy: &Policy,
        user: &RoleName,
        verifier: &Sensitive,
        login: Option<bool>,
        left: Duration,
    ) -> Result<Outcome, Error> {
        let (server, admin) = match self.administered(policy).await? {
            Ok(both) => both,
            Err(finding) => return Ok(Outcome::Refused(Refused::Otherwise(finding))),
        };
        let verifier = Verifier::parse(verifier.expose())
            .map_err(|_| Error::Unusable("the journal's verifier is not a SCRAM-SHA-256 verifier".into()))?;
        let means = match &policy.database.function {
            Some(function) => Means::Function(function),
            None => Means::AlterRole { login },
        };
        let change = Change {
            user,
            verifier: &verifier,
            means,
            expected: self.expected(),
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

fn source(policy: &Policy) -> Result<&StoredSecret, Error> {
    policy
        .delivery
        .source()
        .ok_or_else(|| Error::Unusable("the policy names no store".into()))
}
