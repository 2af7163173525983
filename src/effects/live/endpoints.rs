//! Everywhere that applications log in besides the primary.

use futures::future::join_all;

use super::Live;
use crate::effects::Error;
use crate::effects::postgres::{self, Credential, Server, Wanted};
use crate::machine::endpoints::{Door, EndpointSeen};
use crate::machine::facts::{Finding, Laggard};
use crate::policy::target::RoleName;
use crate::policy::{Endpoint, Policy};

impl Live<'_> {
    /// Tries the pending credential at every address of every endpoint, side by side: each has its own time, and one
    /// that hangs holds up no other.
    pub(super) async fn endpoints(&self, policy: &Policy) -> Result<Vec<EndpointSeen>, Error> {
        let (_, rotation, material) = self.running()?;
        let pending = Credential {
            user: rotation.pending.clone(),
            password: material.pending_password.clone(),
        };
        let (primary, admin) = match self.administered(policy).await? {
            Ok(both) => both,
            Err(finding) => return Ok(all_refused(policy, &finding)),
        };
        let source = match postgres::source(&primary, &admin).await {
            Ok(source) => source,
            Err(finding) => return Ok(all_refused(policy, &finding)),
        };
        let database = &policy.database;
        let (role, query) = (database.effective_role.as_ref(), database.smoke_query.as_deref());
        let mut seen = Vec::new();
        for (endpoint, servers) in self.servers(policy, &admin.user).await? {
            seen.push(async {
                let door = match servers {
                    Ok(servers) => {
                        let each = servers
                            .iter()
                            .map(|server| postgres::replica(server, &pending, role, query, &admin, &source));
                        together(join_all(each).await)
                    }
                    Err(finding) => Door::Refused(finding),
                };
                let name = endpoint.name.clone();
                EndpointSeen { name, door }
            });
        }
        Ok(join_all(seen).await)
    }

    /// What a rotation will need of the endpoints.
    pub(super) async fn endpoint_findings(
        &self,
        policy: &Policy,
        (primary, admin): (&Server, &Credential),
        active: Option<&Credential>,
    ) -> Result<Vec<Finding>, Error> {
        if policy.endpoints.is_empty() {
            return Ok(Vec::new());
        }
        let source = match postgres::source(primary, admin).await {
            Ok(source) => source,
            Err(finding) => return Ok(vec![finding]),
        };
        let mut findings = Vec::new();
        let mut servers = Vec::new();
        for (_, found) in self.servers(policy, &admin.user).await? {
            match found {
                Ok(found) => servers.extend(found),
                Err(finding) => findings.push(finding),
            }
        }
        let wanted = Wanted::by(policy, active);
        let each = servers
            .iter()
            .map(|server| postgres::replica_findings(server, admin, wanted, &source));
        findings.extend(join_all(each).await.into_iter().flatten());
        Ok(findings)
    }

    /// Every server that applications use, the primary first.
    pub(super) async fn everywhere(
        &self,
        policy: &Policy,
        primary: Server,
        admin: &RoleName,
    ) -> Result<Result<Vec<Server>, Finding>, Error> {
        let mut all = vec![primary];
        for (_, found) in self.servers(policy, admin).await? {
            match found {
                Ok(found) => all.extend(found),
                Err(finding) => return Ok(Err(finding)),
            }
        }
        Ok(Ok(all))
    }

    /// Each endpoint with the servers behind its name just now, or why there are none.
    async fn servers<'a>(
        &self,
        policy: &'a Policy,
        admin: &RoleName,
    ) -> Result<Vec<(&'a Endpoint, Result<Vec<Server>, Finding>)>, Error> {
        let mut all = Vec::new();
        for endpoint in &policy.endpoints {
            let servers = match self.cluster.authority(&endpoint.tls).await? {
                Ok(ca) => match Server::endpoint(&policy.database, endpoint, ca.as_deref()) {
                    Ok(server) => postgres::behind_name(&server, admin).await,
                    Err(finding) => Err(finding),
                },
                Err(finding) => Err(finding),
            };
            all.push((endpoint, servers));
        }
        Ok(all)
    }
}

/// Counts a user's sessions on all of these, side by side. Where one cannot be asked, nothing is known of any.
pub(super) async fn sessions_at(
    servers: &[Server],
    admin: &Credential,
    user: &RoleName,
) -> Result<Vec<Laggard>, Finding> {
    let each = servers
        .iter()
        .map(|server| postgres::sessions(server, admin, user));
    let counted: Result<Vec<_>, _> = join_all(each).await.into_iter().collect();
    Ok(counted?.into_iter().flatten().collect())
}

fn all_refused(policy: &Policy, finding: &Finding) -> Vec<EndpointSeen> {
    let refused = |endpoint: &Endpoint| EndpointSeen {
        name: endpoint.name.clone(),
        door: Door::Refused(finding.clone()),
    };
    policy.endpoints.iter().map(refused).collect()
}

/// What all addresses come to: what a person has to mend first, then what mends itself.
fn together(doors: Vec<Door>) -> Door {
    let mut behind = Vec::new();
    for door in doors {
        match door {
            Door::Open => {}
            Door::Behind(lags) => behind.extend(lags),
            Door::Refused(finding) => return Door::Refused(finding),
        }
    }
    if behind.is_empty() {
        Door::Open
    } else {
        Door::Behind(behind)
    }
}
