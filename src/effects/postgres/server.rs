//! How to reach the server, and as whom.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::words::blocker;
use crate::api::endpoint::EndpointRole;
use crate::api::spec::CaKind;
use crate::machine::facts::Finding;
use crate::policy::target::RoleName;
use crate::policy::{CaSource, Database, Endpoint, Tls, Trust};
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

/// What is expected to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// The primary.
    Primary,
    /// A standby, behind the endpoint of this name.
    Replica(String),
    /// A pooler, behind the endpoint of this name.
    Pooler(String),
}

/// The primary server, a replica or a pooler, and the authorities it must be certified by.
#[derive(Clone)]
pub struct Server {
    place: Place,
    host: String,
    /// The one address that is meant, where the name leads to several servers.
    address: Option<IpAddr>,
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
        let Database { host, port, tls, .. } = database;
        Self::of(Place::Primary, (host, *port), tls, database, ca_pem, shown)
    }

    /// What is behind an endpoint, in the same way.
    ///
    /// # Errors
    /// As of [`Self::new`].
    pub fn endpoint(
        database: &Database,
        endpoint: &Endpoint,
        ca_pem: Option<&[u8]>,
        shown: Option<Shown<'_>>,
    ) -> Result<Self, Finding> {
        let Endpoint {
            name,
            role,
            host,
            port,
            tls,
            console: _,
            userlist: _,
        } = endpoint;
        let place = match role {
            EndpointRole::Replica => Place::Replica(name.clone()),
            EndpointRole::Pooler => Place::Pooler(name.clone()),
        };
        Self::of(place, (host, *port), tls, database, ca_pem, shown)
    }

    fn of(
        place: Place,
        (host, port): (&str, u16),
        tls: &Tls,
        database: &Database,
        ca_pem: Option<&[u8]>,
        shown: Option<Shown<'_>>,
    ) -> Result<Self, Finding> {
        let mut server = Self {
            place,
            host: host.to_owned(),
            address: None,
            name: host.to_owned(),
            port,
            database: database.name.clone(),
            tls: None,
            admin_tls: None,
        };
        if let Tls::VerifyFull(trust) = tls {
            let field = server.field();
            if let Some(name) = &trust.server_name {
                server.name.clone_from(name);
            }
            certifiable(&field, trust, &server.name)?;
            let roots = Arc::new(match &trust.authority {
                Some(source) => named_roots(&field, source, ca_pem)?,
                None => system_roots(&field)?,
            });
            server.tls = Some(connector(trust, &roots, None)?);
            if let Some(secret) = &database.admin_certificate {
                let identity = shown
                    .ok_or("it is not there")
                    .and_then(own)
                    .map_err(|why| useless(secret.as_str(), why))?;
                server.admin_tls = Some(connector(trust, &roots, Some((secret.as_str(), identity)))?);
            }
        }
        Ok(server)
    }

    /// The same server, to log in to another database.
    pub(super) fn in_database(&self, name: &str) -> Self {
        Self {
            database: name.to_owned(),
            ..self.clone()
        }
    }

    /// The same, at one of the addresses of its name. The certificate is still to be for the name.
    pub(super) fn pinned(&self, address: IpAddr) -> Self {
        Self {
            address: Some(address),
            ..self.clone()
        }
    }

    /// Host and port, for messages; and the address, where one of several is meant.
    pub(super) fn at(&self) -> String {
        match self.address {
            Some(address) if address.to_string() != self.host => {
                format!("{} ({address})", joined(&self.host, self.port))
            }
            Some(_) | None => joined(&self.host, self.port),
        }
    }

    /// Host and port of one server, for commands.
    pub(super) fn target(&self) -> String {
        match self.address {
            Some(address) => joined(&address.to_string(), self.port),
            None => joined(&self.host, self.port),
        }
    }

    /// The field of the policy that describes it.
    pub(super) fn field(&self) -> String {
        match &self.place {
            Place::Primary => "spec.database".to_owned(),
            Place::Replica(name) | Place::Pooler(name) => format!("spec.database.endpoints[{name}]"),
        }
    }

    /// The endpoint's name; none for the primary.
    pub(super) fn endpoint_name(&self) -> Option<&str> {
        match &self.place {
            Place::Primary => None,
            Place::Replica(name) | Place::Pooler(name) => Some(name),
        }
    }

    /// Whether a standby is expected.
    pub(super) fn is_replica(&self) -> bool {
        matches!(self.place, Place::Replica(_))
    }

    /// The same, asked for another database.
    pub(super) fn asked_for(&self, database: &str) -> Self {
        Self {
            database: database.to_owned(),
            ..self.clone()
        }
    }

    pub(super) fn address(&self) -> Option<IpAddr> {
        self.address
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

fn joined(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

fn certifiable(field: &str, trust: &Trust, name: &str) -> Result<(), Finding> {
    let field = match trust.server_name {
        Some(_) => format!("{field}.tls.serverName"),
        None => format!("{field}.host"),
    };
    ServerName::try_from(name).map(|_| ()).map_err(|_| {
        blocker(
            "HostNotCertifiable",
            format!("{field} {name:?} is neither a DNS name nor an address, so no certificate can be for it"),
        )
    })
}

fn named_roots(field: &str, source: &CaSource, pem: Option<&[u8]>) -> Result<RootCertStore, Finding> {
    let kind = match source.kind {
        CaKind::ConfigMap => "configmap",
        CaKind::Secret => "secret",
    };
    let CaSource { name, key, .. } = source;
    let unusable = |why: String| {
        blocker(
            "CaUnusable",
            format!(
                "{kind}/{name} ({field}.tls.caRef) holds no certificate authority under {key:?}: {why}; look at it: kubectl get {kind} {name} -o yaml"
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

fn system_roots(field: &str) -> Result<RootCertStore, Finding> {
    let mut roots = RootCertStore::empty();
    // A bundle may hold a certificate that cannot be parsed; those that can are trusted.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err(blocker(
            "NoTrustedRoots",
            format!(
                "this container holds no certificate authorities; name the server's in {field}.tls.caRef, from a file: kubectl create configmap database-ca --from-file=ca.crt"
            ),
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
