//! Everywhere that applications log in besides the primary.

use futures::future::join_all;

use super::Live;
use crate::api::endpoint::EndpointRole;
use crate::effects::Error;
use crate::effects::postgres::{self, Credential, Server, Shown, Wanted};
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
            let (pending, admin, source) = (&pending, &admin, &source);
            seen.push(async move {
                let door = match servers {
                    Ok(servers) => {
                        let each = servers.iter().map(|server| async move {
                            match endpoint.role {
                                EndpointRole::Replica => {
                                    postgres::replica(server, pending, role, query, admin, source).await
                                }
                                EndpointRole::Pooler => postgres::pooler(server, pending, role, source).await,
                            }
                        });
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

    /// What a rotation will need of the endpoints, and who may be missing among them.
    pub(super) async fn endpoint_findings(
        &self,
        policy: &Policy,
        (primary, admin): (&Server, &Credential),
        active: Option<&Credential>,
    ) -> Result<Vec<Finding>, Error> {
        if policy.endpoints.is_empty() {
            let standbys = postgres::unnamed_standbys(primary, admin, &[]).await;
            return Ok(standbys.into_iter().collect());
        }
        let source = match postgres::source(primary, admin).await {
            Ok(source) => source,
            Err(finding) => return Ok(vec![finding]),
        };
        let mut findings = Vec::new();
        let wanted = Wanted::by(policy, active);
        let mut asked = Vec::new();
        for (endpoint, found) in self.servers(policy, &admin.user).await? {
            let console = match self.console(policy, endpoint).await? {
                Ok(console) => console,
                Err(finding) => {
                    findings.push(finding);
                    None
                }
            };
            match found {
                Ok(found) => asked.extend(
                    found
                        .into_iter()
                        .map(|server| (endpoint, server, console.clone())),
                ),
                Err(finding) => findings.push(finding),
            }
        }
        // A name that leads nowhere just now may be that of the standby in question.
        if findings.is_empty() {
            let replicas: Vec<_> = asked
                .iter()
                .filter(|(endpoint, ..)| endpoint.role == EndpointRole::Replica)
                .map(|(_, server, _)| server)
                .collect();
            findings.extend(postgres::unnamed_standbys(primary, admin, &replicas).await);
        }
        let source = &source;
        let each = asked.iter().map(|(endpoint, server, console)| async move {
            match endpoint.role {
                EndpointRole::Replica => postgres::replica_findings(server, admin, wanted, source).await,
                EndpointRole::Pooler => {
                    let has_list = endpoint.userlist.is_some();
                    postgres::pooler_findings(server, console.as_ref(), has_list, wanted, source).await
                }
            }
        });
        findings.extend(join_all(each).await.into_iter().flatten());
        Ok(findings)
    }

    /// Who is at the poolers as this user, as far as they have a console.
    pub(super) async fn clients(
        &self,
        policy: &Policy,
        admin: &RoleName,
        user: &RoleName,
    ) -> Result<Result<Vec<Laggard>, Finding>, Error> {
        let mut asked = Vec::new();
        for (endpoint, found) in self.servers(policy, admin).await? {
            if endpoint.console.is_none() {
                continue;
            }
            match (self.console(policy, endpoint).await?, found) {
                (Ok(Some(console)), Ok(servers)) => {
                    asked.extend(servers.into_iter().map(|server| (server, console.clone())));
                }
                (Ok(None), _) => {}
                (Err(finding), _) | (_, Err(finding)) => return Ok(Err(finding)),
            }
        }
        let each = asked
            .iter()
            .map(|(server, console)| postgres::clients(server, console, user));
        let counted: Result<Vec<_>, _> = join_all(each).await.into_iter().collect();
        Ok(counted.map(|laggards| laggards.into_iter().flatten().collect()))
    }

    /// The login of a pooler's console, where there is one, or why it cannot be had.
    pub(super) async fn console(
        &self,
        policy: &Policy,
        endpoint: &Endpoint,
    ) -> Result<Result<Option<Credential>, Finding>, Error> {
        let Some(keys) = &endpoint.console else {
            return Ok(Ok(None));
        };
        let whose = format!("the console of endpoint {}", endpoint.name);
        let login = self.cluster.administrator(keys, &whose, false).await?;
        Ok(login.and_then(|login| match RoleName::new(&login.user) {
            Ok(user) => Ok(Some(Credential {
                user,
                password: login.password,
            })),
            Err(problem) => Err(Finding {
                blocks: true,
                reason: "ConsoleUnusable",
                message: format!(
                    "Secret {namespace}/{secret} names no possible user of {whose}: {problem}. Put the right user name under its key {}: kubectl -n {namespace} edit secret {secret}",
                    keys.username_key,
                    namespace = policy.namespace,
                    secret = keys.secret,
                ),
            }),
        }))
    }

    /// Every server that has sessions of applications, the primary first. Poolers have none of their own.
    pub(super) async fn everywhere(
        &self,
        policy: &Policy,
        primary: Server,
        admin: &RoleName,
    ) -> Result<Result<Vec<Server>, Finding>, Error> {
        let mut all = vec![primary];
        for (endpoint, found) in self.servers(policy, admin).await? {
            match (endpoint.role, found) {
                (EndpointRole::Pooler, _) => {}
                (EndpointRole::Replica, Ok(found)) => all.extend(found),
                (EndpointRole::Replica, Err(finding)) => return Ok(Err(finding)),
            }
        }
        Ok(Ok(all))
    }

    /// Each endpoint with the servers behind its name just now, or why there are none.
    pub(super) async fn servers<'a>(
        &self,
        policy: &'a Policy,
        admin: &RoleName,
    ) -> Result<Vec<(&'a Endpoint, Result<Vec<Server>, Finding>)>, Error> {
        let mut all = Vec::new();
        if policy.endpoints.is_empty() {
            return Ok(all);
        }
        let certificate = match self.cluster.certificate(policy).await? {
            Ok(certificate) => certificate,
            Err(finding) => {
                let refused = |endpoint| (endpoint, Err(finding.clone()));
                return Ok(policy.endpoints.iter().map(refused).collect());
            }
        };
        let shown = certificate.as_ref().map(|certificate| Shown {
            chain: &certificate.chain,
            key: &certificate.key,
        });
        for endpoint in &policy.endpoints {
            let servers = match self.cluster.authority(&endpoint.tls).await? {
                Ok(ca) => match Server::endpoint(&policy.database, endpoint, ca.as_deref(), shown) {
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
