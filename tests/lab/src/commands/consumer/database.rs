//! The application's way to its database.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tandem_lab::Doing;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::Arguments;
use super::book::Book;

/// How long a login may take; a database that is down is to be noticed, not waited for.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Database {
    config: Config,
    tls: MakeRustlsConnect,
    login: Login,
    source: Option<Source>,
}

#[derive(Clone)]
struct Login {
    user: String,
    password: String,
}

/// Where the login is.
struct Source {
    directory: Option<PathBuf>,
    username_key: String,
    password_key: String,
}

impl Source {
    fn read(&self) -> Result<Login> {
        Ok(Login {
            user: self.value(&self.username_key)?,
            password: self.value(&self.password_key)?,
        })
    }

    fn value(&self, key: &str) -> Result<String> {
        match &self.directory {
            Some(directory) => {
                let path = directory.join(key);
                std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
            }
            None => std::env::var(key).with_context(|| format!("the environment has no {key}")),
        }
    }
}

impl Database {
    pub(super) fn new(arguments: &Arguments) -> Result<Self> {
        let source = Source {
            directory: arguments.login_directory.clone(),
            username_key: arguments.username_key.clone(),
            password_key: arguments.password_key.clone(),
        };
        let login = source.read()?;
        let mut roots = rustls::RootCertStore::empty();
        if let Some(path) = &arguments.ca {
            let certificate = CertificateDer::from_pem_file(path);
            roots.add(certificate.with_context(|| format!("cannot read {}", path.display()))?)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls =
            rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let tls = MakeRustlsConnect::new(tls.with_root_certificates(roots).with_no_client_auth());
        let mut config = Config::new();
        config
            .host(&arguments.host)
            .port(arguments.port)
            .dbname(&arguments.database);
        config.application_name(&arguments.name).connect_timeout(PATIENCE);
        config.ssl_mode(if arguments.ca.is_some() {
            SslMode::Require
        } else {
            SslMode::Disable
        });
        Ok(Self {
            config,
            tls,
            login,
            source: arguments.reread.then_some(source),
        })
    }

    /// Opens a connection, and counts it.
    pub(super) async fn log_in(&self, book: &Book) -> Option<Session> {
        let login = match self.source.as_ref().map(Source::read) {
            None => self.login.clone(),
            Some(Ok(login)) => login,
            // The files are being replaced; that is not the database's fault.
            Some(Err(_)) => return None,
        };
        let mut config = self.config.clone();
        config.user(&login.user).password(&login.password);
        book.attempt(&login.user);
        match config.connect(self.tls.clone()).await {
            Ok((client, connection)) => {
                // Ends with its client; whatever else ends it, the next query reports.
                tokio::spawn(connection);
                Some(Session {
                    client,
                    user: login.user,
                })
            }
            Err(error) => {
                book.fail(Doing::Login, &login.user, &error);
                None
            }
        }
    }
}

/// A connection that is open.
pub(super) struct Session {
    client: Client,
    user: String,
}

impl Session {
    pub(super) fn user(&self) -> &str {
        &self.user
    }

    pub(super) async fn query(&self) -> Result<(), tokio_postgres::Error> {
        self.client.simple_query("SELECT 1").await.map(|_| ())
    }
}
