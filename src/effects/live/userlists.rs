//! The lists of passwords that poolers have.

use super::Live;
use super::guards::Purpose;
use crate::effects::kubernetes::userlist::ListSecret;
use crate::effects::postgres::{self, Flaw, Userlist, Verifier};
use crate::effects::{Error, Outcome};
use crate::machine::facts::{Finding, Refused};
use crate::machine::userlists::{List, ListSeen};
use crate::policy::target::RoleName;
use crate::policy::{self, Endpoint, Policy};
use crate::sensitive::Sensitive;

impl Live<'_> {
    /// What the lists have of the running rotation.
    pub(super) async fn lists(&self, policy: &Policy) -> Result<Vec<ListSeen>, Error> {
        let (_, rotation, material) = self.running()?;
        let mut seen = Vec::new();
        for (endpoint, place) in with_list(policy) {
            let pending = [&material.pending_password, &material.pending_verifier];
            let known = |found: &ListSecret| {
                Ok(List::Known {
                    version: found.version.clone(),
                    has_pending: found.list.has(&rotation.pending, &pending)?,
                    has_retiring: found
                        .list
                        .has(&rotation.retiring, &[&material.retiring_verifier])?,
                })
            };
            let list = match self.cluster.userlist(place).await? {
                Ok(found) => {
                    known(&found).unwrap_or_else(|flaw| List::Unusable(self.cluster.flawed(place, &flaw)))
                }
                Err(finding) => List::Unusable(finding),
            };
            let endpoint = endpoint.name.clone();
            seen.push(ListSeen { endpoint, list });
        }
        Ok(seen)
    }

    /// What stands in the way of keeping the lists in step.
    pub(super) async fn list_findings(&self, policy: &Policy) -> Result<Vec<Finding>, Error> {
        let mut findings = Vec::new();
        for (_, place) in with_list(policy) {
            match self.cluster.userlist(place).await? {
                Ok(found) => {
                    findings.extend(found.foreign);
                    for user in [&policy.pair.0, &policy.pair.1] {
                        let entry = found.list.has(user, &[]);
                        findings.extend(entry.err().map(|flaw| self.cluster.flawed(place, &flaw)));
                    }
                }
                Err(finding) => findings.push(finding),
            }
        }
        Ok(findings)
    }

    /// Puts the verifier that the server gets for this purpose into the list of an endpoint.
    pub(super) async fn put_into_list(
        &mut self,
        policy: &Policy,
        purpose: Purpose,
        endpoint: &str,
        user: &RoleName,
        version: &str,
    ) -> Result<Outcome, Error> {
        if let Some(refusal) = self.in_use(policy, user, purpose).await? {
            return Ok(refusal);
        }
        let (_, place) = with_list(policy)
            .find(|(found, _)| found.name == endpoint)
            .ok_or_else(|| Error::Unusable(format!("endpoint {endpoint} has no list")))?;
        let (_, _, material) = self.running()?;
        let verifier = match purpose {
            Purpose::Serve => &material.pending_verifier,
            Purpose::Retire => &material.retiring_verifier,
        };
        let verifier = Verifier::parse(verifier.expose())
            .map_err(|_| Error::Unusable("the journal's verifier is not a SCRAM-SHA-256 verifier".into()))?;
        let put = |list: &Userlist| -> Result<Sensitive, Flaw> { list.with(user, &verifier) };
        self.cluster.put_into_list(place, version, put).await
    }

    /// At every address of its name, one after the other: each is a process of its own.
    pub(super) async fn reload(&self, policy: &Policy, endpoint: &str) -> Result<Outcome, Error> {
        let refused = |finding| Ok(Outcome::Refused(Refused::Otherwise(finding)));
        let admin = match self.administered(policy).await? {
            Ok((_, admin)) => admin,
            Err(finding) => return refused(finding),
        };
        for (found, servers) in self.servers(policy, &admin.user).await? {
            if found.name != endpoint {
                continue;
            }
            let (console, servers) = match (self.console(policy, found).await?, servers) {
                (Ok(Some(console)), Ok(servers)) => (console, servers),
                (Ok(None), _) => return Err(Error::Unusable(format!("endpoint {endpoint} has no console"))),
                (Err(finding), _) | (_, Err(finding)) => return refused(finding),
            };
            for server in &servers {
                if let Err(finding) = postgres::reload(server, &console).await {
                    return refused(finding);
                }
            }
        }
        Ok(Outcome::Done)
    }
}

fn with_list(policy: &Policy) -> impl Iterator<Item = (&Endpoint, &policy::Userlist)> {
    policy
        .endpoints
        .iter()
        .filter_map(|endpoint| Some((endpoint, endpoint.userlist.as_ref()?)))
}
