//! What every test here begins with: a server with a pair, and what Tandem would be told about them.

use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::future::try_join_all;
use tandem::api::spec::{CaKind, OnActiveSessions, RetireMode};
use tandem::effects::postgres::{Change, Credential, Means, Server, Verifier, Wanted, login, preflight};
use tandem::effects::{Error, Outcome};
use tandem::machine::facts::{Finding, Login, Refused};
use tandem::policy::target::{RoleName, SecretName};
use tandem::policy::{Admin, CaSource, Database, Pair, SecretKeyPair, Tls, Trust};
use tandem::sensitive::Sensitive;
use tandem_lab::{Lab, PostgresOptions, Stage};

/// All that are supported.
pub(crate) const VERSIONS: [u32; 5] = [14, 15, 16, 17, 18];
/// What no step needs.
pub(crate) const AMPLE: Duration = Duration::from_secs(30);
/// A statement that both users may run by the role that they share.
pub(crate) const SMOKE: &str = "SELECT id FROM orders LIMIT 0";

/// A server with a pair.
pub(crate) struct Scene {
    pub(crate) lab: Lab,
    pub(crate) stage: Stage,
    pub(crate) server: Server,
    pub(crate) admin: Credential,
    pub(crate) a: Credential,
    pub(crate) b: Credential,
    pub(crate) pair: Pair,
    pub(crate) owner: RoleName,
}

pub(crate) fn role(name: &str) -> RoleName {
    RoleName::new(name).unwrap()
}

pub(crate) fn credential(user: &str, password: &str) -> Credential {
    Credential {
        user: role(user),
        password: Sensitive::new(password.to_owned()),
    }
}

/// A server that is trusted by this authority, or that is spoken to in the clear.
pub(crate) fn server(host: &str, port: u16, database: &str, ca: Option<&str>) -> Result<Server, Finding> {
    Server::new(
        &described(host, port, database, ca.is_some()),
        ca.map(str::as_bytes),
        None,
    )
}

/// Trusted by an authority of its own, whatever the system's are.
pub(crate) fn trust() -> Trust {
    Trust {
        authority: Some(CaSource {
            kind: CaKind::ConfigMap,
            name: "db-ca".into(),
            key: "ca.crt".into(),
        }),
        ..Trust::default()
    }
}

/// A server as a policy describes it.
pub(crate) fn described(host: &str, port: u16, database: &str, tls: bool) -> Database {
    Database {
        host: host.into(),
        port,
        name: database.into(),
        admin: Admin::Secret(SecretKeyPair {
            secret: SecretName::new("db-admin").unwrap(),
            username_key: "username".into(),
            password_key: "password".into(),
        }),
        function: None,
        admin_certificate: None,
        tls: if tls {
            Tls::VerifyFull(trust())
        } else {
            Tls::Disabled
        },
        effective_role: None,
        smoke_query: None,
    }
}

impl Scene {
    pub(crate) async fn new(lab: &Lab, options: PostgresOptions) -> Result<Self> {
        Self::of(lab, lab.namespace("sql").await?.stage(options).await?)
    }

    /// The same on a stage that is there already.
    pub(crate) fn of(lab: &Lab, stage: Stage) -> Result<Self> {
        let login = |login: &tandem_lab::Login| credential(&login.user, &login.password);
        let (a, b, admin) = (
            login(&stage.pair.a),
            login(&stage.pair.b),
            login(&stage.pair.admin),
        );
        let ca = stage.postgres.has_tls().then(|| lab.ca_pem());
        let server = server(
            &stage.postgres.host(),
            stage.postgres.port(),
            &stage.pair.database,
            ca,
        );
        Ok(Self {
            lab: lab.clone(),
            server: server.map_err(|finding| anyhow::anyhow!(finding.message))?,
            pair: Pair(a.user.clone(), b.user.clone()),
            owner: role(&stage.pair.owner),
            stage,
            admin,
            a,
            b,
        })
    }

    /// The same server, asked for another database.
    pub(crate) fn database(&self, name: &str) -> Server {
        let postgres = &self.stage.postgres;
        let ca = postgres.has_tls().then(|| self.lab.ca_pem());
        server(&postgres.host(), postgres.port(), name, ca).unwrap()
    }

    /// Statements of the superuser.
    pub(crate) async fn sql(&self, statements: &str) -> Result<()> {
        self.stage
            .postgres
            .sql(&self.stage.pair.database, statements)
            .await
            .map(drop)
    }

    /// What the server keeps as a role's password.
    pub(crate) async fn kept(&self, user: &RoleName) -> Result<String> {
        let sql = format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{user}'");
        self.stage
            .postgres
            .value("postgres", &sql)
            .await?
            .context("no password is kept")
    }

    /// A login as Tandem proves it, with everything that can be asserted of it.
    pub(crate) async fn login(&self, pending: &Credential) -> Login {
        login(
            &self.server,
            pending,
            Some(&self.owner),
            Some(SMOKE),
            Some(&self.admin),
        )
        .await
    }

    pub(crate) fn wanted(&self) -> Wanted<'_> {
        Wanted {
            pair: &self.pair,
            active: Some(&self.a),
            effective_role: Some(&self.owner),
            function: None,
            smoke_query: Some(SMOKE),
            retire: RetireMode::Scramble,
            on_active: OnActiveSessions::Wait,
        }
    }

    /// What preflight finds, as reasons: those that block, and the others.
    pub(crate) async fn reasons(&self) -> (Vec<&'static str>, Vec<&'static str>) {
        let (findings, _) = preflight(&self.server, &self.admin, self.wanted()).await;
        let (blockers, warnings): (Vec<_>, Vec<_>) = findings.into_iter().partition(|finding| finding.blocks);
        let reasons = |findings: Vec<Finding>| findings.into_iter().map(|finding| finding.reason).collect();
        (reasons(blockers), reasons(warnings))
    }
}

/// A change that nothing speaks against.
pub(crate) fn change_of<'a>(user: &'a RoleName, verifier: &'a Verifier) -> Change<'a> {
    Change {
        user,
        verifier,
        means: Means::AlterRole { login: None },
        expected: None,
        time_left: AMPLE,
    }
}

/// What a superuser is told to type, which stands last in a message.
pub(crate) fn command(finding: &Finding) -> &str {
    let (_, command) = finding.message.rsplit_once("run: ").expect(&finding.message);
    command
}

/// Why a login was refused.
pub(crate) fn reason(login: &Login) -> &'static str {
    match login {
        Login::Refused(finding) => finding.reason,
        Login::WrongPassword => "(wrong password)",
        Login::Accepted(_) => "(accepted)",
        Login::NotYet => "(not yet)",
    }
}

/// Why a change was refused.
pub(crate) fn refusal(outcome: Result<Outcome, Error>) -> (&'static str, String) {
    match outcome {
        Ok(Outcome::Refused(Refused::Otherwise(finding) | Refused::Password(finding))) => {
            (finding.reason, finding.message)
        }
        other => panic!("not refused: {other:?}"),
    }
}

/// Does the same on all versions, side by side.
pub(crate) async fn on_every_version(
    lab: &Lab,
    options: PostgresOptions,
    test: impl AsyncFn(Scene, u32) -> Result<()>,
) -> Result<()> {
    let each = VERSIONS.map(|version| {
        let (test, options) = (&test, options.clone().version(version));
        async move {
            let scene = Scene::new(lab, options).await?;
            test(scene, version)
                .await
                .with_context(|| format!("on PostgreSQL {version}"))
        }
    });
    try_join_all(each).await.map(drop)
}
