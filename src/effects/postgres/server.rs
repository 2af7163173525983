//! How to reach the server, and as whom.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::words::blocker;
use crate::api::spec::CaKind;
use crate::machine::facts::Finding;
use crate::policy::target::RoleName;
use crate::policy::{CaSource, Database, Tls, Trust};
use crate::sensitive::Sensitive;

/// A user and its password.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The role.
    pub user: RoleName,
    /// Its password.
    pub password: Sensitive,
}

/// The certificate that the administrator shows, in PEM form.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// Its chain, the administrator's own first.
    pub chain: &'a [u8],
    /// Its private key.
    pub key: &'a Sensitive,
}

/// The primary server, and the authorities it must be certified by.
#[derive(Clone)]
pub struct Server {
    host: String,
    /// The name that the certificate must be for.
    name: String,
    port: u16,
    database: String,
    tls: Option<MakeRustlsConnect>,
    /// The administrator's, when it shows a certificate of its own.
    admin_tls: Option<MakeRustlsConnect>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("at", &self.at())
            .finish_non_exhaustive()
    }
}

impl Server {
    /// A server as the policy describes it. `ca_pem` is what stands under [`CaSource::key`], and `shown` what the Secret
    /// of the administrator's certificate holds, both read just now, so that a renewed one counts from the next
    /// connection on; they are not looked at when the policy names none.
    ///
    /// # Errors
    /// A finding, when no server could be trusted: with that, nobody would learn at noon why the night's rotation will
    /// fail.
    pub fn new(
        database: &Database,
        ca_pem: Option<&[u8]>,
        shown: Option<Shown<'_>>,
    ) -> Result<Self, Finding> {
        let mut name = &database.host;
        let (mut tls, mut admin_tls) = (None, None);
        if let Tls::VerifyFull(trust) = &database.tls {
            name = trust.server_name.as_ref().unwrap_or(name);
            certifiable(trust, name)?;
            let roots = Arc::new(match &trust.authority {
                Some(source) => named_roots(source, ca_pem)?,
                None => system_roots()?,
            });
            tls = Some(connector(trust, &roots, None)?);
            if let Some(secret) = &database.admin_certificate {
                let identity = shown
                    .ok_or("it is not there")
                    .and_then(own)
                    .map_err(|why| useless(secret.as_str(), why))?;
                admin_tls = Some(connector(trust, &roots, Some((secret.as_str(), identity)))?);
            }
        }
        Ok(Self {
            host: database.host.clone(),
            name: name.clone(),
            port: database.port,
            database: database.name.clone(),
            tls,
            admin_tls,
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

    /// The name that its certificate must be for.
    pub(super) fn name(&self) -> &str {
        &self.name
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

    /// Whether the administrator shows a certificate.
    pub(super) fn knows_the_administrator(&self) -> bool {
        self.admin_tls.is_some()
    }

    /// For the logins of the two users.
    pub(super) fn tls(&self) -> Option<&MakeRustlsConnect> {
        self.tls.as_ref()
    }

    /// For the administrator's.
    pub(super) fn admin_tls(&self) -> Option<&MakeRustlsConnect> {
        self.admin_tls.as_ref().or(self.tls.as_ref())
    }
}

fn certifiable(trust: &Trust, name: &str) -> Result<(), Finding> {
    let field = match trust.server_name {
        Some(_) => "spec.database.tls.serverName",
        None => "spec.database.host",
    };
    ServerName::try_from(name).map(|_| ()).map_err(|_| {
        blocker(
            "HostNotCertifiable",
            format!("{field} {name:?} is neither a DNS name nor an address, so no certificate can be for it"),
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

/// A certificate chain and its key.
type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn own(shown: Shown<'_>) -> Result<Identity, &'static str> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(shown.chain)
        .collect::<Result<_, _>>()
        .map_err(|_| "tls.crt is not in PEM form")?;
    if chain.is_empty() {
        return Err("tls.crt has no BEGIN CERTIFICATE");
    }
    let key = PrivateKeyDer::from_pem_slice(shown.key.expose().as_bytes())
        .map_err(|_| "tls.key is no private key in PEM form")?;
    Ok((chain, key))
}

fn useless(secret: &str, why: &str) -> Finding {
    blocker(
        "ClientCertificateUnusable",
        format!(
            "Secret {secret} (spec.database.admin.certificateRef) holds no certificate that the administrator could show: {why}; put both in anew: kubectl create secret tls {secret} --cert=admin.crt --key=admin.key --dry-run=client -o yaml | kubectl apply -f -"
        ),
    )
}

fn connector(
    trust: &Trust,
    roots: &Arc<RootCertStore>,
    identity: Option<(&str, Identity)>,
) -> Result<MakeRustlsConnect, Finding> {
    let versions: &[_] = if trust.only_tls13 {
        &[&TLS13]
    } else {
        &[&TLS13, &TLS12]
    };
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .map_err(|error| blocker("TlsUnavailable", format!("this build cannot do TLS: {error}")))?
        .with_root_certificates(Arc::clone(roots));
    let config = match identity {
        None => builder.with_no_client_auth(),
        Some((secret, (chain, key))) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| useless(secret, &error.to_string()))?,
    };
    Ok(MakeRustlsConnect::new(config))
}
