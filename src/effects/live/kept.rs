//! What the last rotation has left, looked at while no other runs: as few logins as tell it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use super::Live;
use super::looks::credential;
use crate::effects::Error;
use crate::effects::postgres::{self, Credential};
use crate::machine::Loaded;
use crate::machine::facts::{Finding, Identity, KeptSeen, Login, Previous};
use crate::machine::journal::Kept;
use crate::policy::Policy;
use crate::policy::target::RoleName;
use crate::sensitive::Sensitive;

/// When preflight passed last for each policy, and for which generation of it. It lives in the process that looked, and only
/// saves looking again.
#[derive(Debug, Default)]
pub(super) struct Passed(Mutex<HashMap<String, (i64, Timestamp)>>);

impl Passed {
    /// Takes in how a preflight ended.
    pub(super) fn note(&self, policy: &Policy, passed: bool, now: Timestamp) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if passed {
            held.insert(policy.uid.clone(), (policy.generation, now));
        } else {
            held.remove(&policy.uid);
        }
    }

    fn at(&self, policy: &Policy) -> Option<Timestamp> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (generation, at) = held.get(&policy.uid)?;
        (*generation == policy.generation).then_some(*at)
    }

    /// Forgets a policy.
    pub(super) fn forget(&self, policy: &str) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.remove(policy);
    }
}

impl Live<'_> {
    /// Two logins when all is well, the second of them refused. Only where something is wrong, the administrator asks why.
    pub(super) async fn kept(&mut self, policy: &Policy) -> Result<KeptSeen, Error> {
        let told = match policy.delivery.source() {
            None => self.secret(policy).await?.1.as_ref().and_then(credential),
            Some(source) => self.document(source).await?.ok().and_then(|document| {
                let user = RoleName::new(document.user()).ok()?;
                let password = document.password().clone();
                Some(Credential { user, password })
            }),
        };
        let told = told.filter(|told| policy.pair.contains(&told.user));
        let preflight_at = self.hands.passed.at(policy);
        let server = match self.server(policy).await? {
            Ok(server) => server,
            Err(finding) => return Ok(unasked(told.is_some(), &finding, preflight_at)),
        };
        let active = match &told {
            Some(told) => Some(postgres::active(&server, told).await),
            None => None,
        };
        let retired = match (&active, self.retired(told.as_ref())) {
            (Some(Login::Refused(finding)), _) => Previous::Unreachable(finding.clone()),
            (_, Some(last)) => postgres::previous(&server, &last).await,
            (_, None) => Previous::Unknown,
        };
        let mut seen = KeptSeen {
            active,
            retired,
            identity: None,
            preflight_at,
        };
        if let Some(Login::Accepted(identity)) = &seen.active {
            seen.identity = Some(identity.clone());
        } else if let (Some(told), Some(Login::WrongPassword)) = (&told, &seen.active) {
            let (login, identity) = self.why_refused(policy, told).await?;
            (seen.active, seen.identity) = (Some(login), identity);
        }
        Ok(seen)
    }

    /// The server says the same of a wrong password and of a role that is missing or has expired.
    async fn why_refused(
        &self,
        policy: &Policy,
        told: &Credential,
    ) -> Result<(Login, Option<Identity>), Error> {
        Ok(match self.administered(policy).await? {
            Ok((server, admin)) => postgres::why_refused(&server, &told.user, &admin).await,
            Err(finding) => (Login::Refused(finding), None),
        })
    }

    /// The retired user's last password, as long as applications are told the other user.
    fn retired(&self, told: Option<&Credential>) -> Option<Credential> {
        let held = self.held()?;
        let user = held.retired.clone()?;
        let password = self.material()?.previous_password.clone()?;
        (told?.user != user).then_some(Credential { user, password })
    }

    pub(super) fn held(&self) -> Option<&Kept> {
        match &self.journal.as_ref()?.loaded {
            Loaded::Valid(journal) => journal.kept.as_ref(),
            Loaded::Absent | Loaded::Corrupt(_) => None,
        }
    }

    /// What applications are or will be told: what the running rotation brings, or what the last one has left.
    pub(super) fn brought(&self) -> Option<(&RoleName, &Sensitive)> {
        let user = match self.rotation() {
            Some((_, rotation)) => &rotation.pending,
            None => &self.held()?.active,
        };
        Some((user, &self.material()?.pending_password))
    }

    /// The server on which that was, or will be, proven.
    pub(super) fn expected(&self) -> Option<&Identity> {
        match self.rotation() {
            Some((_, rotation)) => rotation.identity.as_ref(),
            None => self.held()?.identity.as_ref(),
        }
    }
}

/// One word for metrics.
pub(super) fn result(seen: &KeptSeen) -> &'static str {
    match (&seen.active, &seen.retired) {
        (Some(Login::WrongPassword), _) => "active_refused",
        (_, Previous::Accepted) => "retired_accepted",
        (Some(Login::Accepted(_)), Previous::Refused | Previous::Unknown) => "in_sync",
        (_, Previous::Refused | Previous::Unknown | Previous::Unreachable(_)) => "unknown",
    }
}

fn unasked(told: bool, finding: &Finding, preflight_at: Option<Timestamp>) -> KeptSeen {
    KeptSeen {
        active: told.then(|| Login::Refused(finding.clone())),
        retired: Previous::Unreachable(finding.clone()),
        identity: None,
        preflight_at,
    }
}
