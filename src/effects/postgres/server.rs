//! How to reach the server, and as whom.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::words::blocker;
use crate::api::spec::CaKind;
use crate::machine::facts::Finding;
use crate::policy::target::RoleName;
use crate::policy::{CaSource, Database, Tls};
use crate::sensitive::Sensitive;

/// A user and its password.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The role.
    pub user: RoleName,
    /// Its password.
    pub password: Sensitive,
}

/// The primary server, and the authorities it must be certified by.
#[derive(Clone)]
pub struct Server {
    host: String,
    port: u16,
    database: String,
    tls: Option<MakeRustlsConnect>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("at", &self.at())
            .finish_non_exhaustive()
    }
}

impl Server {
    /// A server as the policy describes it. `ca_pem` is what stands under [`CaSource::key`], read just now, so that a
    /// renewed authority counts from the next connection on; it is not looked at when the policy names none.
    ///
    /// # Errors
    /// A finding, when no server could be trusted: with that, nobody would learn at noon why the night's rotation will
    /// fail.
    pub fn new(database: &Database, ca_pem: Option<&[u8]>) -> Result<Self, Finding> {
        let tls = match &database.tls {
            Tls::Disabled => None,
            Tls::VerifyFull(source) => {
                certifiable(&database.host)?;
                let roots = match source {
                    Some(source) => named_roots(source, ca_pem)?,
                    None => system_roots()?,
                };
                Some(connector(roots)?)
            }
        };
        Ok(Self {
            host: database.host.clone(),
            port: database.port,
            database: database.name.clone(),
            tls,
        })
    }

    /// The same server, to log in to another database.
    pub(super) fn in_database(&self, name: &str) -> Self {
        Self {
            database: name.to_owned(),
            ..self.clone()
        }
    }

    /// Host and port, for messages.
    pub(super) fn at(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn database(&self) -> &str {
        &self.database
    }

    /// Whether the server has to show a certificate.
    pub(super) fn verifies(&self) -> bool {
        self.tls.is_some()
    }

    pub(super) fn tls(&self) -> Option<&MakeRustlsConnect> {
        self.tls.as_ref()
    }
}

fn certifiable(host: &str) -> Result<(), Finding> {
    ServerName::try_from(host).map(|_| ()).map_err(|_| {
        blocker(
            "HostNotCertifiable",
            format!("spec.database.host {host:?} is neither a DNS name nor an address, so no certificate can be for it"),
        )
    })
}

fn named_roots(source: &CaSource, pem: Option<&[u8]>) -> Result<RootCertStore, Finding> {
    let kind = match source.kind {
        CaKind::ConfigMap => "configmap",
        CaKind::Secret => "secret",
    };
    let CaSource { name, key, .. } = source;
    let unusable = |why: String| {
        blocker(
            "CaUnusable",
            format!(
                "{kind}/{name} (spec.database.tls.caRef) holds no certificate authority under {key:?}: {why}; look at it: kubectl get {kind} {name} -o yaml"
            ),
        )
    };
    let pem = pem.ok_or_else(|| unusable("there is no such key".into()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        // Their texts tell the kind of flaw and a position, nothing of what stands there.
        let certificate = certificate.map_err(|_| unusable("it is not in PEM form".into()))?;
        roots
            .add(certificate)
            .map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("it has no BEGIN CERTIFICATE".into()));
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, Finding> {
    let mut roots = RootCertStore::empty();
    // A bundle may hold a certificate that cannot be parsed; those that can are trusted.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(blocker(
            "NoTrustedRoots",
            "this container holds no certificate authorities; name the server's in spec.database.tls.caRef, from a file: kubectl create configmap database-ca --from-file=ca.crt".into(),
        ));
    }
    Ok(roots)
}

fn connector(roots: RootCertStore) -> Result<MakeRustlsConnect, Finding> {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| blocker("TlsUnavailable", format!("this build cannot do TLS: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}
