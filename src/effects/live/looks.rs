//! The answers to the machine's questions.

use jiff::Timestamp;

use super::Live;
use crate::api;
use crate::effects::kubernetes::reloader::Content;
use crate::effects::kubernetes::secret::AppSecret;
use crate::effects::postgres::{self, Compared, Credential, Server, Shown, Wanted};
use crate::effects::store::{Document, Store as _, rotation_of};
use crate::effects::{Error, World as _, neighbours};
use crate::machine::facts::{
    Consumer, Finding, Login, OperatorSeen, Preflight, Previous, Room, SecretSeen, StoreSeen,
};
use crate::machine::journal::Landing;
use crate::policy::target::RoleName;
use crate::policy::{Admin, Policy, Route, StoredSecret};

impl Live<'_> {
    pub(super) async fn secret(&self, policy: &Policy) -> Result<(SecretSeen, Option<AppSecret>), Error> {
        let material = self.material();
        let pending = self.brought();
        match &policy.delivery.route {
            Route::Direct { .. } => self.cluster.see(policy, pending).await,
            Route::StoreFirst { .. } => {
                let previous = material.and_then(|m| m.previous_password.as_ref());
                self.cluster.see_synced(policy, pending, previous).await
            }
        }
    }

    pub(super) async fn store(&mut self, policy: &Policy) -> Result<StoreSeen, Error> {
        let Some(source) = policy.delivery.source() else {
            return Err(Error::Unusable("the policy names no store".into()));
        };
        let document = match self.document(source).await? {
            Ok(document) => document,
            Err(finding) => return Ok(StoreSeen::Unusable(finding)),
        };
        let brought = self.brought();
        Ok(StoreSeen::Present {
            user: RoleName::new(document.user()).ok(),
            carries_pending: brought
                .is_some_and(|(user, password)| document.carries(user.as_str(), password)),
            version: document.version().to_owned(),
            number: rotation_of(document.version(), &policy.uid),
        })
    }

    /// What the store says is current; a finding when no rotation could use it.
    pub(super) async fn document(
        &mut self,
        source: &StoredSecret,
    ) -> Result<Result<Document, Finding>, Error> {
        if let Some(document) = &self.document {
            return Ok(Ok(document.clone()));
        }
        let read = self.hands.stores.open(source).current().await?;
        self.document = read.as_ref().ok().cloned();
        Ok(read)
    }

    pub(super) async fn operator(&self, policy: &Policy) -> Result<OperatorSeen, Error> {
        let (journal, ..) = self.running()?;
        self.cluster.operator(policy, journal.number).await
    }

    /// The server, or why it cannot even be tried.
    pub(super) async fn server(&self, policy: &Policy) -> Result<Result<Server, Finding>, Error> {
        let ca = match self.cluster.authority(&policy.database.tls).await? {
            Ok(ca) => ca,
            Err(finding) => return Ok(Err(finding)),
        };
        let certificate = match self.cluster.certificate(policy).await? {
            Ok(certificate) => certificate,
            Err(finding) => return Ok(Err(finding)),
        };
        let shown = certificate.as_ref().map(|certificate| Shown {
            chain: &certificate.chain,
            key: &certificate.key,
        });
        Ok(Server::new(&policy.database, ca.as_deref(), shown))
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
            Admin::Secret(keys) => {
                let certified = policy.database.admin_certificate.is_some();
                self.cluster
                    .administrator(keys, "the administrator", certified)
                    .await?
            }
            Admin::Stored(source) => self.hands.stores.administrator(source).await?,
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

    pub(super) async fn preflight(&mut self, policy: &Policy) -> Result<Preflight, Error> {
        let (_, app) = self.secret(policy).await?;
        let (credential, mut findings) = match policy.delivery.source() {
            None => (
                app.as_ref().and_then(credential),
                self.cluster.delivery_findings(policy, app.as_ref()),
            ),
            Some(source) => self.stored(policy, source, app.as_ref()).await?,
        };
        let credential = credential.filter(|credential| policy.pair.contains(&credential.user));
        let active = credential.as_ref().map(|credential| credential.user.clone());
        findings.extend(neighbours::findings(
            policy,
            self.hands.places.policies().state().iter().map(AsRef::as_ref),
        ));
        let reloading = self
            .cluster
            .reloading(policy, app.as_ref(), Content::Unknown, self.now())
            .await?;
        let workloads = self.cluster.workloads().await?.beside(reloading);
        findings.extend(workloads.findings(policy));
        // Nothing has been delivered, so no pod is behind.
        let consumers = workloads.judge(policy, "", Some(Timestamp::MIN));
        findings.extend(workloads.reloader_findings(policy, &consumers));
        findings.extend(self.cluster.access(policy, &consumers).await?);
        findings.extend(self.list_findings(policy).await?);
        let mut identity = None;
        match self.administered(policy).await? {
            Err(finding) => findings.push(finding),
            Ok((server, admin)) => {
                let (found, server_identity) =
                    postgres::preflight(&server, &admin, Wanted::by(policy, credential.as_ref())).await;
                findings.extend(found);
                // Where the primary itself could not be asked, its replicas have nothing to be compared with.
                if server_identity.is_some() {
                    let endpoints = self
                        .endpoint_findings(policy, (&server, &admin), credential.as_ref())
                        .await?;
                    findings.extend(endpoints);
                }
                identity = server_identity;
            }
        }
        findings.sort_by_key(|finding| !finding.blocks);
        Ok(Preflight {
            active,
            identity,
            consumers,
            findings,
        })
    }

    /// What the store says is current, and what stands in the way of bringing another credential from there into the
    /// application Secret.
    async fn stored(
        &mut self,
        policy: &Policy,
        source: &StoredSecret,
        app: Option<&AppSecret>,
    ) -> Result<(Option<Credential>, Vec<Finding>), Error> {
        let mut findings = Vec::new();
        let document = match self.document(source).await? {
            Ok(document) => Some(document),
            Err(finding) => {
                findings.push(finding);
                None
            }
        };
        let store = self.hands.stores.open(source);
        findings.extend(store.findings(document.as_ref()).await);
        findings.extend(self.cluster.operator_findings(policy, app).await?);
        let Some(document) = document else {
            return Ok((None, findings));
        };
        let Some(user) = RoleName::new(document.user())
            .ok()
            .filter(|user| policy.pair.contains(user))
        else {
            findings.push(names_stranger(policy, source, document.user()));
            return Ok((None, findings));
        };
        if app.is_some_and(|app| !app.carries(policy, &user, document.password())) {
            findings.push(behind_store(policy, source));
        }
        let password = document.password().clone();
        Ok((Some(Credential { user, password }), findings))
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
        let login = postgres::login(
            &server,
            &credential,
            database.effective_role.as_ref(),
            database.smoke_query.as_deref(),
            Some(&admin),
        )
        .await;
        if !matches!(login, Login::Accepted(_)) || !self.serves(policy, &rotation.retiring) {
            return Ok(login);
        }
        // What came between them since preflight holds the flip, as long as it can still be held.
        let compared = Compared {
            pair: &policy.pair,
            active: Some(&rotation.retiring),
            effective_role: database.effective_role.as_ref(),
        };
        let found = Box::pin(postgres::parity(&server, &admin, compared)).await;
        let held = found.map(|found| found.into_iter().find(|finding| finding.blocks));
        Ok(match held {
            Ok(None) => login,
            Ok(Some(finding)) | Err(finding) => Login::Refused(finding),
        })
    }

    /// Whether the source of truth named this user when it was last asked in this turn. The machine asks it first.
    fn serves(&self, policy: &Policy, user: &RoleName) -> bool {
        match policy.delivery.source() {
            None => self.named.as_ref() == Some(user),
            Some(_) => self
                .document
                .as_ref()
                .is_some_and(|document| document.user() == user.as_str()),
        }
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
        let (journal, rotation, _) = self.running()?;
        let spared = rotation.undoes.as_ref().and_then(|undone| undone.staged_at);
        let (seen, app) = self.secret(policy).await?;
        let landing = match (policy.delivery.source(), seen) {
            (Some(_), _) => rotation.delivered.clone(),
            (None, SecretSeen::Present { landing, .. }) => landing,
            (None, SecretSeen::Missing) => None,
        };
        let id = landing.as_ref().map(|landing| landing.id.as_str());
        let mark = api::restart_mark(&policy.uid, journal.number, id);
        let content = Content::of(id, rotation.first.as_deref(), rotation.undoes.is_some());
        let reloading = self
            .cluster
            .reloading(policy, app.as_ref(), content, self.now())
            .await?;
        let delivered_at = landing.map(|landing| landing.at);
        self.cluster
            .consumers(policy, &mark, delivered_at, spared, reloading)
            .await
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

    pub(super) async fn room(&self, policy: &Policy) -> Result<Result<Room, Finding>, Error> {
        let (_, rotation, _) = self.running()?;
        Ok(match self.administered(policy).await? {
            Ok((server, admin)) => {
                postgres::room(&server, &admin, (&rotation.pending, &rotation.retiring)).await
            }
            Err(finding) => Err(finding),
        })
    }
}

/// What the application Secret carries, when that can be a credential.
pub(super) fn credential(app: &AppSecret) -> Option<Credential> {
    Some(Credential {
        user: app.user.clone()?,
        password: app.password.clone()?,
    })
}

fn names_stranger(policy: &Policy, source: &StoredSecret, user: &str) -> Finding {
    Finding {
        blocks: true,
        reason: "StoreNamesStranger",
        message: format!(
            "secret {id} in region {region} names the user {user:?} under its property {key}, which is none of {} and {}. Put the credential that the applications use now there, beside all other properties: aws secretsmanager put-secret-value --region {region} --secret-id {id} --secret-string file://secret.json",
            policy.pair.0,
            policy.pair.1,
            id = source.id,
            region = source.region,
            key = source.username_key,
        ),
    }
}

/// Until it is there, nobody knows whether a sync works at all.
fn behind_store(policy: &Policy, source: &StoredSecret) -> Finding {
    let (namespace, secret) = (&policy.namespace, &policy.delivery.target.secret);
    let name = match &policy.delivery.route {
        Route::Direct { .. } => "",
        Route::StoreFirst { external_secret, .. } => external_secret,
    };
    Finding {
        blocks: true,
        reason: "SecretBehindStore",
        message: format!(
            "Secret {namespace}/{secret} does not carry the credential that secret {} in region {} names as current. Have it synced: kubectl -n {namespace} annotate --overwrite externalsecret {name} {}=$(date +%s)",
            source.id,
            source.region,
            api::FORCE_SYNC,
        ),
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
            "secret {} in region {} names no possible administrator: {problem}. Put the right user name under its property {}, beside all others: aws secretsmanager put-secret-value --region {} --secret-id {} --secret-string file://secret.json",
            source.id, source.region, source.username_key, source.region, source.id
        ),
    };
    Finding {
        blocks: true,
        reason: "AdminUnusable",
        message,
    }
}
