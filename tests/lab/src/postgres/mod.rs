//! PostgreSQL servers as pods.

mod options;
mod pair;
mod replica;
mod server;
mod servers;
mod snapshot;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::Api;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::host::postgres::install;
use crate::namespace::Namespace;
use crate::poll::eventually;
use crate::random;
pub use options::PostgresOptions;
pub use pair::{ADMIN_SECRET, CA_CONFIG_MAP, CREDENTIALS_SECRET, Login, Pair, Stage};
use replica::Copy;
pub(crate) use server::{Files, USER, certificate};
pub use servers::Servers;

const PORT: u16 = 5432;
const SUPERUSER: &str = "postgres";
const READY: Duration = Duration::from_mins(2);

/// How a server is made to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Sessions are ended, then it stops.
    Fast,
    /// It aborts, as in a crash.
    Immediate,
}

/// A running server.
#[derive(Clone)]
pub struct Postgres {
    namespace: Namespace,
    options: PostgresOptions,
    address: String,
    superuser_password: String,
    files: Arc<Files>,
}

impl Namespace {
    /// Starts a server: a pod, and a Service of the same name. Returns when it answers.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn postgres(&self, options: PostgresOptions) -> Result<Postgres> {
        let statements = options.sql.clone();
        let server = start(self, options, None).await?;
        for statement in statements {
            server.sql("postgres", &statement).await?;
        }
        Ok(server)
    }
}

/// Starts a server, as a copy of the primary when there is one.
async fn start(
    namespace: &Namespace,
    options: PostgresOptions,
    primary: Option<(&Postgres, Copy)>,
) -> Result<Postgres> {
    let version = options.version;
    let installation = tokio::task::spawn_blocking(move || install(version)).await??;
    let name = options.name.clone();
    let service: Service = serde_json::from_value(server::service(&name))?;
    namespace.server_side_apply(&name, &service).await?;
    let services: Api<Service> = namespace.api();
    let address = services.get(&name).await?.spec.and_then(|spec| spec.cluster_ip);
    let address = address.with_context(|| format!("the Service {name} has no address"))?;

    let home = namespace.lab().home();
    let files = Files::create(home.join("postgres").join(namespace.name()).join(&name))?;
    let superuser_password = match &primary {
        None => random::password(),
        Some((primary, copy)) => {
            copy.hand_over(&files)?;
            primary.superuser_password.clone()
        }
    };
    let (certificate, key) = certificate(home, namespace.name(), &name, &address, &options.hosts)?;
    files.write("server.crt", &certificate)?;
    files.write("server.key", &key)?;
    files.write("superuser", &superuser_password)?;
    files.write("postgresql.conf", &server::settings(&options))?;
    files.write("pg_hba.conf", &server::hba(&options, options.hba.as_deref()))?;
    files.write("pg_ident.conf", "")?;
    files.write("run.sh", &server::script(&installation, primary.is_some()))?;

    let pod: Pod = serde_json::from_value(server::pod(&name, &files, &installation))?;
    namespace.server_side_apply(&name, &pod).await?;
    let server = Postgres {
        namespace: namespace.clone(),
        options,
        address,
        superuser_password,
        files: Arc::new(files),
    };
    server.wait_until_up().await?;
    Ok(server)
}

impl Postgres {
    /// The name by which pods reach it, which is in its certificate too.
    #[must_use]
    pub fn host(&self) -> String {
        format!("{}.{}.svc", self.options.name, self.namespace.name())
    }

    /// Its Service's address.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        PORT
    }

    /// Its name: that of the pod and of the Service.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// Its major version.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.options.version
    }

    /// Whether it has a certificate.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        self.options.tls
    }

    /// Who may do everything.
    #[must_use]
    pub fn superuser(&self) -> Login {
        Login::new(SUPERUSER, &self.superuser_password)
    }

    /// Logs in, by TLS when the server has a certificate. The error of a refused login is the driver's own, below the
    /// context.
    ///
    /// # Errors
    /// When the login fails.
    pub async fn connect_as(&self, user: &str, password: &str, database: &str) -> Result<Client> {
        let mut config = tokio_postgres::Config::new();
        config
            .host(self.host())
            .hostaddr(self.address.parse()?)
            .port(PORT)
            .user(user)
            .password(password);
        config
            .dbname(database)
            .application_name("tandem-lab")
            .connect_timeout(Duration::from_secs(5));
        config.ssl_mode(if self.options.tls {
            SslMode::Require
        } else {
            SslMode::Disable
        });
        log_in(&config, self.namespace.lab().ca_pem())
            .await
            .with_context(|| format!("cannot log in to {} as {user}", self.host()))
    }

    /// Runs statements as superuser, and returns the rows that they gave.
    ///
    /// # Errors
    /// When the server refuses one.
    pub async fn sql(&self, database: &str, statements: &str) -> Result<Vec<SimpleQueryRow>> {
        let client = self
            .connect_as(SUPERUSER, &self.superuser_password, database)
            .await?;
        let messages = client.simple_query(statements).await;
        let messages = messages.with_context(|| format!("{} refused «{statements}»", self.host()))?;
        let row = |message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            SimpleQueryMessage::CommandComplete(_) | SimpleQueryMessage::RowDescription(_) | _ => None,
        };
        Ok(messages.into_iter().filter_map(row).collect())
    }

    /// Runs one query as superuser, and returns the first value of its first row.
    ///
    /// # Errors
    /// When the server refuses it.
    pub async fn value(&self, database: &str, query: &str) -> Result<Option<String>> {
        let rows = self.sql(database, query).await?;
        Ok(rows
            .first()
            .and_then(|row| row.try_get(0).ok().flatten())
            .map(ToOwned::to_owned))
    }

    /// Everything that the server has logged.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn server_log(&self) -> Result<String> {
        let path = self.files.dir.join("server.log");
        let log = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(String::from_utf8_lossy(&log).into_owned())
    }

    /// Replaces the lines of `pg_hba.conf` for connections by network, for logins from now on.
    ///
    /// # Errors
    /// When the server does not reload.
    pub async fn set_hba(&self, lines: &str) -> Result<()> {
        self.files
            .write("pg_hba.conf", &server::hba(&self.options, Some(lines)))?;
        self.sql("postgres", "SELECT pg_reload_conf()").await?;
        // The server's main process reloads when it gets to it.
        tokio::time::sleep(Duration::from_millis(200)).await;
        Ok(())
    }

    /// Stops the server; its pod and its address stay, and connections are refused.
    ///
    /// # Errors
    /// When it does not stop.
    pub async fn stop(&self, how: Stop) -> Result<()> {
        self.files.write("stopped", "")?;
        self.signal(how).await
    }

    /// Starts a server that was stopped; returns when it answers.
    ///
    /// # Errors
    /// When it does not in time.
    pub async fn start(&self) -> Result<()> {
        let path = self.files.dir.join("stopped");
        if path.exists() {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        self.wait_until_up().await
    }

    /// Stops the server and starts it again at once.
    ///
    /// # Errors
    /// When it does not come back in time.
    pub async fn restart(&self, how: Stop) -> Result<()> {
        self.stop(how).await?;
        self.start().await
    }

    async fn signal(&self, how: Stop) -> Result<()> {
        let mode = match how {
            Stop::Fast => "fast",
            Stop::Immediate => "immediate",
        };
        let control = install(self.options.version)?.seen_in_pod("bin/pg_ctl");
        self.exec(&[&control, "stop", "--pgdata=/data/cluster", "--mode", mode])
            .await
    }

    async fn wait_until_up(&self) -> Result<()> {
        let what = format!("PostgreSQL {} to answer at {}", self.options.version, self.host());
        let up = eventually(what, READY, async || {
            self.sql("postgres", "SELECT 1").await?;
            Ok(Some(()))
        });
        let log = self.files.dir.join("server.log");
        up.await
            .with_context(|| format!("the server's log is {}", log.display()))
    }
}

/// Logs in to a server that is certified by this authority, if at all. The connection ends with its client.
pub(crate) async fn log_in(config: &tokio_postgres::Config, ca: &str) -> Result<Client> {
    let (client, connection) = config.connect(tls(ca)?).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Verifies servers by the lab's authority.
fn tls(ca: &str) -> Result<MakeRustlsConnect> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).context("the lab's certificate is no PEM")?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(MakeRustlsConnect::new(
        config.with_root_certificates(roots).with_no_client_auth(),
    ))
}
