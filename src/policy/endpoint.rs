//! Where applications log in besides the primary.

use super::{Invalid, Tls, parse_tls};
use crate::api::endpoint::{EndpointRole, EndpointSpec};
use crate::api::spec::DatabaseSpec;

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
}

/// All of them, in the order of the spec.
pub(super) fn parse_endpoints(database: &DatabaseSpec) -> Result<Vec<Endpoint>, Invalid> {
    let mut endpoints: Vec<Endpoint> = Vec::new();
    for spec in &database.endpoints {
        let EndpointSpec {
            name,
            role,
            host,
            port,
            tls,
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
        endpoints.push(Endpoint {
            name: name.clone(),
            role: *role,
            host: host.clone(),
            port: *port,
            tls: parse_tls(&format!("{field}.tls"), tls.as_ref().unwrap_or(&database.tls))?,
        });
    }
    Ok(endpoints)
}
