//! The answers to the machine's questions.

use std::time::Duration;

use super::Live;
use crate::api;
use crate::effects::kubernetes::secret::AppSecret;
use crate::effects::postgres::{self, Credential, Server, Wanted};
use crate::effects::{Error, World as _, neighbours};
use crate::machine::facts::{Consumer, Finding, Login, Preflight, Previous, SecretSeen, Sessions};
use crate::machine::journal::Landing;
use crate::machine::poll_interval;
use crate::policy::target::RoleName;
use crate::policy::{Admin, Policy};

impl Live<'_> {
    pub(super) async fn secret(&self, policy: &Policy) -> Result<(SecretSeen, Option<AppSecret>), Error> {
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
    pub(super) async fn administered(
        &self,
        policy: &Policy,
    ) -> Result<Result<(Server, Credential), Finding>, Error> {
        let server = match self.server(policy).await? {
            Ok(server) => server,
            Err(finding) => return Ok(Err(finding)),
        };
        let admin = match &policy.database.admin {
            Admin::Secret(keys) => self.cluster.administrator(keys).await?,
            Admin::Stored(source) => return Err(Error::Unusable(format!("TEMP {}", source.id))),
        };
        Ok(admin.and_then(|admin| match RoleName::new(&admin.user) {
            Ok(user) => Ok((
                server,
                Credential {
                    user,
                    password: admin.password,
                },
            )),
            Err(problem) => Err(unusable_administrator(policy, &problem)),
        }))
    }

    pub(super) async fn preflight(&self, policy: &Policy) -> Result<Preflight, Error> {
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

    pub(super) async fn pending_login(&self, policy: &Policy) -> Result<Login, Error> {
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

    pub(super) async fn previous_login(&self, policy: &Policy) -> Result<Previous, Error> {
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

    pub(super) async fn consumers(&self, policy: &Policy) -> Result<Vec<Consumer>, Error> {
        let (journal, ..) = self.running()?;
        let landing = self.landing(policy).await?;
        let mark = api::restart_mark(
            &policy.uid,
            journal.number,
            landing.as_ref().map(|l| l.id.as_str()),
        );
        let workloads = self.cluster.workloads().await?;
        Ok(workloads.judge(policy, &mark, landing.map(|landing| landing.at)))
    }

    /// The delivery that consumers are judged by; none when what is there was written by somebody else.
    pub(super) async fn landing(&self, policy: &Policy) -> Result<Option<Landing>, Error> {
        if policy.delivery.source().is_some() {
            return Ok(self.running()?.1.delivered.clone());
        }
        Ok(match self.secret(policy).await?.0 {
            SecretSeen::Present { landing, .. } => landing,
            SecretSeen::Missing => None,
        })
    }

    pub(super) async fn sessions(&self, policy: &Policy) -> Result<Sessions, Error> {
        let (journal, rotation, _) = self.running()?;
        let counted = match self.administered(policy).await {
            Ok(Ok((server, admin))) => Ok(postgres::sessions(&server, &admin, &rotation.retiring).await),
            Ok(Err(finding)) => Ok(Err(finding)),
            Err(error) => Err(error),
        };
        // Whatever the reason, nobody has looked: what came and went meanwhile is not known.
        if !matches!(counted, Ok(Ok(_))) {
            self.hands.series.end(&policy.uid);
        }
        let mut laggards = match counted? {
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
}

fn unusable_administrator(policy: &Policy, problem: &str) -> Finding {
    let namespace = &policy.namespace;
    let message = match &policy.database.admin {
        Admin::Secret(keys) => format!(
            "Secret {namespace}/{secret} names no possible administrator: {problem}. Put the right user name under its key {}: kubectl -n {namespace} edit secret {secret}",
            keys.username_key,
            secret = keys.secret,
        ),
        Admin::Stored(source) => format!(
            "secret {} in region {} names no possible administrator: {problem}. Put the right user name under its property {}: aws secretsmanager put-secret-value --region {} --secret-id {}",
            source.id, source.region, source.username_key, source.region, source.id
        ),
    };
    Finding {
        blocks: true,
        reason: "AdminUnusable",
        message,
    }
}
