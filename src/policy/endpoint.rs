//! Where applications log in besides the primary.

use jiff::SignedDuration;

use super::database::parse_tls;
use super::target::SecretName;
use super::{Invalid, SecretKeyPair, Tls, duration, secret_name};
use crate::api::endpoint::{EndpointRole, EndpointSpec};
use crate::api::spec::{DatabaseSpec, TlsSpec};

/// A place besides the primary where applications log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its name, unique in the policy.
    pub name: String,
    /// What answers there.
    pub role: EndpointRole,
    /// DNS name or address; a name may lead to several servers.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Transport security.
    pub tls: Tls,
    /// Where the login of a pooler's console is.
    pub console: Option<SecretKeyPair>,
    /// Where a pooler's list of passwords is; never without a console.
    pub userlist: Option<Userlist>,
}

/// A key of a Secret that holds a pooler's list of passwords.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Userlist {
    /// Name of the Secret.
    pub secret: SecretName,
    /// The key.
    pub key: String,
}

/// The longest time that poolers without a console ask for.
pub(super) fn parse_soak(database: &DatabaseSpec) -> Result<SignedDuration, Invalid> {
    let mut longest = SignedDuration::ZERO;
    for EndpointSpec { name, soak, .. } in &database.endpoints {
        if let Some(soak) = soak {
            longest = longest.max(duration(&format!("database.endpoints[{name}].soak"), soak)?);
        }
    }
    Ok(longest)
}

/// All of them, in the order of the spec.
pub(super) fn parse_endpoints(database: &DatabaseSpec) -> Result<Vec<Endpoint>, Invalid> {
    let mut endpoints: Vec<Endpoint> = Vec::new();
    // The primary's other name is not theirs.
    let usual = TlsSpec {
        server_name: None,
        ..database.tls.clone()
    };
    for spec in &database.endpoints {
        let EndpointSpec {
            name,
            role,
            host,
            port,
            tls,
            console,
            userlist,
            soak,
        } = spec;
        let field = format!("database.endpoints[{name}]");
        if endpoints.iter().any(|endpoint| endpoint.name == *name) {
            return Err(Invalid::new(
                "database.endpoints",
                format!("two are named {name:?}; give each its own name"),
            ));
        }
        if *host == database.host && *port == database.port {
            return Err(Invalid::new(
                format!("{field}.host"),
                "is the primary itself, which is asked anyway; remove the endpoint",
            ));
        }
        let fits = match role {
            EndpointRole::Replica => console.is_none() && soak.is_none(),
            EndpointRole::Pooler => console.is_some() != soak.is_some(),
        };
        if !fits {
            return Err(Invalid::new(
                field,
                "give a Pooler exactly one of console and soak, and a Replica neither",
            ));
        }
        if userlist.is_some() && console.is_none() {
            return Err(Invalid::new(
                format!("{field}.userlist"),
                "needs the pooler's console, which makes it read the list; add console.secretRef",
            ));
        }
        let userlist = userlist.as_ref().map(|userlist| {
            let kept = &userlist.secret_ref;
            Ok(Userlist {
                secret: secret_name(&format!("{field}.userlist.secretRef.name"), &kept.name)?,
                key: kept.key.clone(),
            })
        });
        let console = console.as_ref().map(|console| {
            let keys = &console.secret_ref;
            Ok(SecretKeyPair {
                secret: secret_name(&format!("{field}.console.secretRef.name"), &keys.name)?,
                username_key: keys.username_key.clone(),
                password_key: keys.password_key.clone(),
            })
        });
        endpoints.push(Endpoint {
            name: name.clone(),
            role: *role,
            host: host.clone(),
            port: *port,
            tls: parse_tls(&format!("{field}.tls"), tls.as_ref().unwrap_or(&usual))?,
            console: console.transpose()?,
            userlist: userlist.transpose()?,
        });
    }
    Ok(endpoints)
}
