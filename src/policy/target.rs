//! Names that have been checked once.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::api::spec::TargetKind;

/// Name of a PostgreSQL role: 1 to 63 bytes, no NUL, not one of the reserved words.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RoleName(String);

impl RoleName {
    /// Takes the name as PostgreSQL stores it: case and every character count.
    ///
    /// # Errors
    /// Says which rule of PostgreSQL the name breaks.
    pub fn new(name: &str) -> Result<Self, String> {
        // NAMEDATALEN is 64 with the final NUL; a longer name would be cut silently and mean another role.
        if name.is_empty() || name.len() > 63 {
            return Err(format!("{name:?} is not 1 to 63 bytes long"));
        }
        if name.contains('\0') {
            return Err("a role name holds no NUL byte".into());
        }
        if name.starts_with("pg_") || name == "public" || name == "none" {
            return Err(format!("{name:?} is reserved by PostgreSQL"));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A name that is read back is checked again: a journal may have been edited by hand.
impl TryFrom<String> for RoleName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Self::new(&name)
    }
}

impl From<RoleName> for String {
    fn from(name: RoleName) -> Self {
        name.0
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Name of a function, with its schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionName {
    schema: String,
    name: String,
}

impl FunctionName {
    /// Takes `schema.name` as PostgreSQL stores both: case and every character count, and neither holds a dot.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn new(text: &str) -> Result<Self, String> {
        let possible = |part: &str| (1..=63).contains(&part.len()) && !part.contains(['.', '\0']);
        match text.split_once('.') {
            Some((schema, name)) if possible(schema) && possible(name) => Ok(Self {
                schema: schema.to_owned(),
                name: name.to_owned(),
            }),
            Some(_) | None => Err(format!(
                "{text:?} names no function; write schema.name, for example rotation.set_verifier"
            )),
        }
    }

    /// The schema that it is in.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// Its name there.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Name of a Secret in the policy's namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SecretName(String);

impl SecretName {
    /// Takes a DNS subdomain name.
    ///
    /// # Errors
    /// Says that the name can be no Secret's.
    pub fn new(name: &str) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        if name.is_empty() || name.len() > 253 || !name.chars().all(plain) {
            return Err(format!(
                "{name:?} can be no Secret's name: lower-case letters, digits, '-' and '.', at most 253"
            ));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Workloads that use the credential without naming the Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// One workload.
    Named(TargetKind, String),
    /// All workloads of a kind that carry these labels.
    Labelled(TargetKind, BTreeMap<String, String>),
}

/// Names one consumer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConsumerRef {
    /// What it is.
    pub kind: ConsumerKind,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ConsumerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.as_str().to_lowercase(), self.name)
    }
}

/// What a consumer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConsumerKind {
    /// A workload that can be restarted.
    Workload(TargetKind),
    /// A running Job: never killed, waited for.
    Job,
    /// A Pod that no workload owns, or whose owner Tandem does not restart: waited for.
    Pod,
}

impl ConsumerKind {
    /// The kind's name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Workload(TargetKind::Deployment) => "Deployment",
            Self::Workload(TargetKind::StatefulSet) => "StatefulSet",
            Self::Workload(TargetKind::DaemonSet) => "DaemonSet",
            Self::Workload(TargetKind::Rollout) => "Rollout",
            Self::Job => "Job",
            Self::Pod => "Pod",
        }
    }
}
