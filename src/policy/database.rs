//! The server, and what makes it trusted.

use super::delivery::parse_stored;
use super::target::{FunctionName, RoleName, SecretName};
use super::{Invalid, StoredSecret, secret_name};
use crate::api::spec::{CaKind, RetireMode, RotationPolicySpec, TlsMode, TlsSpec, TlsVersion};

/// The primary server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// DNS name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Database to log in to.
    pub name: String,
    /// Where the administrator's credential is.
    pub admin: Admin,
    /// The Secret with the certificate that the administrator shows.
    pub admin_certificate: Option<SecretName>,
    /// What changes passwords in the administrator's stead.
    pub function: Option<FunctionName>,
    /// Transport security.
    pub tls: Tls,
    /// What `current_user` must be after login.
    pub effective_role: Option<RoleName>,
    /// Statement that must succeed as the standby before the flip.
    pub smoke_query: Option<String>,
}

/// Where the administrator's credential is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admin {
    /// In a Secret of the policy's namespace.
    Secret(SecretKeyPair),
    /// In the store.
    Stored(StoredSecret),
}

/// A Secret with a user name under one key and a password under another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretKeyPair {
    /// Name of the Secret.
    pub secret: SecretName,
    /// Key of the user name.
    pub username_key: String,
    /// Key of the password.
    pub password_key: String,
}

/// Transport security, without a fallback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Chain and host name are verified.
    VerifyFull(Trust),
    /// In the clear.
    Disabled,
}

/// What makes a server trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// The authority that certifies it; without one the system's.
    pub authority: Option<CaSource>,
    /// The name it must be certified for, instead of the host.
    pub server_name: Option<String>,
    /// Whether TLS 1.2 is refused.
    pub only_tls13: bool,
}

/// Where a certificate authority is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaSource {
    /// Kind of the object.
    pub kind: CaKind,
    /// Name of the object.
    pub name: String,
    /// Key in it.
    pub key: String,
}

pub(super) fn parse_database(spec: &RotationPolicySpec) -> Result<Database, Invalid> {
    let database = &spec.database;
    let admin = match (&database.admin.secret_ref, &database.admin.aws_secret) {
        (Some(secret), None) => Admin::Secret(SecretKeyPair {
            secret: secret_name("database.admin.secretRef.name", &secret.name)?,
            username_key: secret.username_key.clone(),
            password_key: secret.password_key.clone(),
        }),
        (None, Some(stored)) => Admin::Stored(parse_stored("database.admin.awsSecret", stored)?),
        (None, None) | (Some(_), Some(_)) => {
            return Err(Invalid::new(
                "database.admin",
                "give exactly one of secretRef and awsSecret",
            ));
        }
    };
    let tls = parse_tls("database.tls", &database.tls)?;
    let admin_certificate = match &database.admin.certificate_ref {
        Some(_) if tls == Tls::Disabled => {
            return Err(Invalid::new(
                "database.admin.certificateRef",
                "a certificate can only be shown by TLS; remove it or set database.tls.mode to VerifyFull",
            ));
        }
        Some(certificate) => Some(secret_name(
            "database.admin.certificateRef.name",
            &certificate.name,
        )?),
        None => None,
    };
    Ok(Database {
        host: database.host.clone(),
        port: database.port,
        name: database.name.clone(),
        admin,
        admin_certificate,
        function: parse_function(spec)?,
        tls,
        effective_role: database
            .effective_role
            .as_deref()
            .map(RoleName::new)
            .transpose()
            .map_err(|problem| Invalid::new("database.effectiveRole", problem))?,
        smoke_query: database.smoke_query.clone(),
    })
}

fn parse_function(spec: &RotationPolicySpec) -> Result<Option<FunctionName>, Invalid> {
    let function = spec
        .database
        .admin
        .function
        .as_deref()
        .map(FunctionName::new)
        .transpose()
        .map_err(|problem| Invalid::new("database.admin.function", problem))?;
    if function.is_some() && spec.retire.mode == RetireMode::NoLogin {
        return Err(Invalid::new(
            "retire.mode",
            "a function changes passwords only; set Scramble, or remove database.admin.function",
        ));
    }
    Ok(function)
}

pub(super) fn parse_tls(field: &str, tls: &TlsSpec) -> Result<Tls, Invalid> {
    let TlsSpec {
        mode,
        ca_ref,
        server_name,
        min_version,
    } = tls;
    match mode {
        TlsMode::VerifyFull => Ok(Tls::VerifyFull(Trust {
            authority: ca_ref.as_ref().map(|ca| CaSource {
                kind: ca.kind,
                name: ca.name.clone(),
                key: ca.key.clone(),
            }),
            server_name: server_name.clone(),
            only_tls13: *min_version == Some(TlsVersion::V1_3),
        })),
        TlsMode::Disable if ca_ref.is_none() && server_name.is_none() && min_version.is_none() => {
            Ok(Tls::Disabled)
        }
        TlsMode::Disable => Err(Invalid::new(
            field,
            "caRef, serverName and minVersion have no meaning with mode Disable; remove them or the mode",
        )),
    }
}
