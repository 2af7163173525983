//! What a script is made of, and taking its steps in a world.

use anyhow::{Context as _, Result, ensure};
use tandem::controller::turn::{Machine, Mind as _};
use tandem::effects::{Error, Fresh, Seen, World};
use tandem::machine::facts::{Consumer, Identity, SecretSeen};
use tandem::machine::journal::{Finished, Kept, Landing, Rotation, Trigger, Undone};
use tandem::machine::project::project;
use tandem::machine::step::Entry;
use tandem::machine::{Action, Facts, Journal, Loaded, Query};
use tandem::policy::target::RoleName;
use tandem::policy::{Policy, RotateMode};

use crate::observe;

/// What both worlds ask for at their start.
pub(crate) const NONCE: &str = "nonce-1";

/// One step of a script.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Load,
    Look(Query),
    /// Writes the journal.
    Record(Entry),
    /// Sets the pending verifier for this user of the pair.
    SetVerifier(usize),
    /// Delivers over the Secret that was seen last.
    Flip,
    /// Restarts the consumer that was seen last.
    Restart,
    Terminate(usize),
    Retire(usize),
    /// Shows what the machine would say of what was loaded last.
    Publish,
    /// Somebody else does something.
    Change(Change),
}

/// What people and surroundings do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Somebody writes something into the Secret that does not matter.
    TouchSecret,
    /// Somebody else's password under the password key.
    MeddleWithSecret,
    /// The first credential again, and the mark stays (fm30).
    ApplySecret,
    /// The first credential again, and nothing else.
    ReplaceSecret,
    /// A user that is not one of the pair.
    NameStranger,
    /// The mark of the delivery is taken away.
    UnmarkSecret,
    DeleteSecret,
    TouchJournal,
    DeleteJournal,
    CorruptJournal,
    Suspend,
    Resume,
    /// The policy is deleted, and kept by its finalizer.
    DeletePolicy,
    /// The finalizer is taken off.
    Finalize,
    /// Somebody gives this user another password, and the right to log in.
    SetPassword(usize),
    NoLogin(usize),
    /// Somebody logs in with the first password of the first user, and stays.
    OpenSession,
    EndSession,
    /// Waits for sessions that have been ended to be gone.
    SessionsEnded,
    DatabaseDown,
    DatabaseUp,
    /// The next second begins.
    TimePasses,
    /// A pod is deleted, and another one takes its place.
    ReplacePod,
    /// The workload's controller has replaced every pod.
    RolledOut,
}

/// A world and its surroundings.
pub(crate) trait Place {
    /// The world.
    type World: World;

    /// What the driver sees.
    fn world(&mut self) -> &mut Self::World;

    /// Lets something happen.
    async fn change(&mut self, change: Change) -> Result<()>;
}

/// A place, and what has been seen in it.
pub(crate) struct Side<P> {
    place: P,
    fresh: Option<Fresh>,
    policy: Option<Policy>,
    version: Option<String>,
    landing: Option<Landing>,
    consumers: Vec<Consumer>,
    identity: Option<Identity>,
}

impl<P: Place> Side<P> {
    pub(crate) fn new(place: P) -> Self {
        Self {
            place,
            fresh: None,
            policy: None,
            version: None,
            landing: None,
            consumers: Vec::new(),
            identity: None,
        }
    }

    /// Takes a step, and says what came of it.
    pub(crate) async fn take(&mut self, step: Step) -> Result<String> {
        match step {
            Step::Change(change) => {
                self.place.change(change).await?;
                Ok(String::new())
            }
            Step::Load => self.load().await,
            Step::Look(query) => self.look(query).await,
            Step::Publish => self.publish().await,
            Step::Record(_)
            | Step::SetVerifier(_)
            | Step::Flip
            | Step::Restart
            | Step::Terminate(_)
            | Step::Retire(_) => {
                let (policy, action) = (self.policy()?.clone(), self.action(step)?);
                Ok(observe::outcome(
                    &self.place.world().perform(&policy, &action).await,
                ))
            }
        }
    }

    async fn load(&mut self) -> Result<String> {
        match self.place.world().load().await {
            Ok(fresh) => {
                if let Some(fresh) = &fresh {
                    self.policy = Some(Policy::parse(&fresh.object)?);
                }
                let text = observe::fresh(fresh.as_ref());
                self.fresh = fresh;
                Ok(text)
            }
            Err(error) => Ok(observe::error(&error)),
        }
    }

    async fn look(&mut self, query: Query) -> Result<String> {
        let policy = self.policy()?.clone();
        let seen = self.place.world().look(&policy, query).await;
        match &seen {
            Ok(Seen::Secret(SecretSeen::Present { version, landing, .. })) => {
                self.version = Some(version.clone());
                self.landing.clone_from(landing);
            }
            Ok(Seen::Preflight(preflight)) => self.identity.clone_from(&preflight.identity),
            Ok(Seen::Consumers(consumers)) => self.consumers.clone_from(consumers),
            Ok(
                Seen::Secret(SecretSeen::Missing)
                | Seen::Store(_)
                | Seen::Operator(_)
                | Seen::Pending(_)
                | Seen::Endpoints(_)
                | Seen::Lists(_)
                | Seen::Previous(_)
                | Seen::Kept(_)
                | Seen::Room(_)
                | Seen::Place(_)
                | Seen::Sessions(_),
            )
            | Err(_) => {}
        }
        Ok(seen.map_or_else(|error: Error| observe::error(&error), |seen| observe::seen(&seen)))
    }

    async fn publish(&mut self) -> Result<String> {
        let policy = self.policy()?.clone();
        let fresh = self
            .fresh
            .clone()
            .ok_or_else(|| anyhow::anyhow!("nothing was loaded"))?;
        let world = self.place.world();
        let (facts, now) = (Facts::default(), world.now());
        let decision = Machine.decide(&policy, &fresh.journal, &facts, now);
        let shown = fresh.object.status.unwrap_or_default();
        let projection = project(&policy, &fresh.journal, &facts, &decision, &shown, now);
        Ok(match world.publish(&projection, true).await {
            Ok(()) => "shown".to_owned(),
            Err(error) => observe::error(&error),
        })
    }

    fn policy(&self) -> Result<&Policy> {
        self.policy
            .as_ref()
            .ok_or_else(|| anyhow::anyhow!("no policy was loaded"))
    }

    fn user(&self, index: usize) -> Result<RoleName> {
        let pair = &self.policy()?.pair;
        Ok(if index == 0 {
            pair.0.clone()
        } else {
            pair.1.clone()
        })
    }

    fn action(&mut self, step: Step) -> Result<Action> {
        Ok(match step {
            Step::Record(entry) => Action::Record {
                entry,
                next: Box::new(self.next(entry)?),
            },
            Step::SetVerifier(user) => Action::SetVerifier {
                user: self.user(user)?,
            },
            Step::Flip => Action::Flip {
                version: self
                    .version
                    .clone()
                    .ok_or_else(|| anyhow::anyhow!("no Secret was seen"))?,
            },
            Step::Restart => {
                ensure!(self.consumers.len() == 1, "there is no one consumer");
                Action::Restart {
                    consumer: self.consumers[0].reference.clone(),
                    uid: self.consumers[0].uid.clone(),
                    form: self.consumers[0].restarter,
                }
            }
            Step::Terminate(user) => Action::Terminate {
                user: self.user(user)?,
            },
            Step::Retire(user) => Action::Retire {
                user: self.user(user)?,
                mode: self.policy()?.retire.mode,
            },
            Step::Load | Step::Look(_) | Step::Publish | Step::Change(_) => {
                anyhow::bail!("{step:?} is no write")
            }
        })
    }

    /// The journal that the machine would write, were it asked to.
    fn next(&mut self, entry: Entry) -> Result<Journal> {
        let now = self.place.world().now();
        let policy = self.policy()?;
        let mut next = match self.fresh.as_ref().map(|fresh| &fresh.journal) {
            Some(Loaded::Valid(journal)) => journal.as_ref().clone(),
            Some(Loaded::Absent | Loaded::Corrupt(_)) | None => Journal::new(&policy.uid),
        };
        let rotation = |trigger, pending, retiring, identity| Rotation {
            trigger,
            mode: RotateMode::Graceful,
            started_at: now,
            spec: policy.snapshot.clone(),
            pending,
            retiring,
            identity,
            staged_at: None,
            undoes: None,
            rejected: 0,
            delivered: None,
            first: None,
            rolled_out_at: None,
        };
        let (a, b) = (policy.pair.0.clone(), policy.pair.1.clone());
        match entry {
            Entry::Adopt | Entry::Reschedule => {}
            Entry::CallOff => next.aborted = Some(NONCE.to_owned()),
            Entry::Reapply => next.reapplied = Some(NONCE.to_owned()),
            Entry::Accept => next.accepted = Some(NONCE.to_owned()),
            Entry::RollBack => {
                let ended = next.rotation.take().context("no rotation to take back")?;
                let trigger = Trigger::Abort(NONCE.to_owned());
                let back = rotation(trigger, ended.retiring, ended.pending, ended.identity);
                let (number, staged_at) = (next.number, ended.staged_at);
                let undoes = Some(Undone { number, staged_at });
                next.number += 1;
                next.rotation = Some(Rotation { undoes, ..back });
            }
            Entry::Stage => {
                next.number += 1;
                next.handled = Some(NONCE.to_owned());
                next.rotation = Some(rotation(
                    Trigger::RotateNow(NONCE.to_owned()),
                    b,
                    a,
                    self.identity.clone(),
                ));
            }
            Entry::Recover => {
                next.number = 1;
                next.handled = Some(NONCE.to_owned());
                next.rotation = Some(rotation(Trigger::Recovery, b, a, None));
            }
            Entry::Regenerate => {
                if let Some(rotation) = &mut next.rotation {
                    rotation.rejected += 1;
                }
            }
            Entry::Deliver => {
                let at = self.landing.clone();
                if let Some(rotation) = &mut next.rotation {
                    rotation.delivered = at;
                }
            }
            Entry::Withdraw => {
                if let Some(rotation) = &mut next.rotation {
                    rotation.delivered = None;
                }
            }
            Entry::RollOut => {
                if let Some(rotation) = &mut next.rotation {
                    rotation.rolled_out_at = Some(now);
                }
            }
            Entry::Finish => {
                if let Some(ended) = next.rotation.take() {
                    next.kept = Some(Kept {
                        active: ended.pending.clone(),
                        retired: Some(ended.retiring),
                        identity: ended.identity,
                        since: now,
                    });
                    next.history.insert(
                        0,
                        Finished {
                            number: next.number,
                            trigger: ended.trigger,
                            user: ended.pending,
                            started_at: ended.started_at,
                            finished_at: now,
                            rolled_out_at: ended.rolled_out_at,
                            undone: None,
                        },
                    );
                }
            }
        }
        Ok(next)
    }
}
