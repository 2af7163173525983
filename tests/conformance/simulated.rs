//! The simulated world, and how its surroundings change.

use anyhow::{Result, ensure};
use serde_json::Value;
use tandem::controller::turn::Machine;

use crate::place::{Change, Place};
use crate::sim::data::{Credential, Outsider, State};
use crate::sim::events::{Life, Meddle, live, meddle};
use crate::sim::hands::Hands;
use crate::sim::start::{FIRST, spec, start, workload};
use crate::sim::writes::put_secret;

/// A controller process in the simulated world.
pub(crate) struct Simulated {
    hands: Hands<'static, Machine>,
}

impl Simulated {
    /// In order, with one Deployment when there are to be pods, and spec fields of one's own.
    pub(crate) fn new(pods: bool, changes: &Value) -> Self {
        let workloads = pods.then(|| workload("web", true)).into_iter().collect();
        Self {
            hands: Hands::new(&Machine, start(&spec(changes), workloads), Vec::new()),
        }
    }

    fn state(&mut self) -> &mut State {
        &mut self.hands.state
    }

    fn meddle(&mut self, what: Meddle) {
        meddle(self.state(), what);
    }

    /// Another content of the Secret; what a delivery has marked stays marked.
    fn put(&mut self, change: impl FnOnce(Credential) -> Credential) {
        if let Some(secret) = self.state().cluster.secret {
            put_secret(self.state(), change(secret.credential), secret.delivered);
        }
    }
}

impl Place for Simulated {
    type World = Hands<'static, Machine>;

    fn world(&mut self) -> &mut Self::World {
        &mut self.hands
    }

    async fn change(&mut self, change: Change) -> Result<()> {
        match change {
            Change::TouchSecret => self.put(|credential| credential),
            Change::MeddleWithSecret => {
                let password = self.state().fresh_id();
                self.put(|credential| Credential {
                    password,
                    ..credential
                });
            }
            Change::ApplySecret => self.meddle(Meddle::ReapplySecret),
            Change::ReplaceSecret => self.meddle(Meddle::RevertSecret),
            Change::NameStranger => self.meddle(Meddle::RenameSecretUser),
            Change::UnmarkSecret => self.meddle(Meddle::UnmarkSecret),
            Change::DeleteSecret => self.meddle(Meddle::DeleteSecret),
            Change::TouchJournal => {
                let state = self.state();
                state.about_to_change();
                let revision = state.cluster.revision;
                if let Some(kept) = &mut state.cluster.journal {
                    kept.revision = revision;
                }
            }
            Change::DeleteJournal => self.meddle(Meddle::DeleteJournal),
            Change::CorruptJournal => self.meddle(Meddle::CorruptJournal),
            Change::Suspend => self.meddle(Meddle::Suspend),
            Change::Resume => self.meddle(Meddle::Resume),
            Change::DeletePolicy => self.meddle(Meddle::DeletePolicy),
            Change::Finalize => drop(live(self.state(), Life::Finalize)),
            Change::SetPassword(user) => self.meddle(Meddle::ChangePassword(user)),
            Change::NoLogin(user) => self.state().database.primary[user].login = false,
            Change::OpenSession => {
                ensure!(
                    self.state().database.logs_in(FIRST[0]),
                    "the first password is refused"
                );
                self.state().database.outsider = Some(Outsider {
                    credential: FIRST[0],
                    session: true,
                    stubborn: false,
                });
            }
            Change::EndSession => self.state().database.outsider = None,
            Change::SessionsEnded => {}
            Change::DatabaseDown => self.meddle(Meddle::DatabaseDown),
            Change::DatabaseUp => self.meddle(Meddle::DatabaseUp),
            Change::TimePasses => self.state().now += 2_000,
            Change::ReplacePod | Change::RolledOut => {
                drop(live(self.state(), Life::Replace { workload: 0, pod: 0 }));
            }
        }
        Ok(())
    }
}
