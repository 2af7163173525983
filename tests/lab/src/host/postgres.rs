//! PostgreSQL's programs: Debian's for the version that it has, and a published npm package for the others.

use std::path::PathBuf;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::packages::{self, POSTGRES_15};
use crate::pods::Mount;

/// Where the programs of one version are.
pub(crate) struct Installation {
    /// The directory on the machine, and where pods see it.
    host: PathBuf,
    seen: &'static str,
}

/// Finds or installs the programs of a major version.
pub(crate) fn install(version: u32) -> Result<Installation> {
    if version == 15 {
        packages::install(POSTGRES_15)?;
        return Ok(Installation {
            host: "/usr/lib/postgresql/15".into(),
            seen: "/usr/lib/postgresql/15",
        });
    }
    bail!("the lab has no PostgreSQL {version}: it has 15")
}

impl Installation {
    /// A directory of it, as a pod sees it.
    pub(crate) fn seen_in_pod(&self, directory: &str) -> String {
        format!("{}/{directory}", self.seen)
    }

    /// What a pod has to mount to see it, if that is not with the machine's programs anyway.
    pub(crate) fn mount(&self) -> Option<Mount> {
        (!self.host.starts_with("/usr")).then(|| Mount::read_only(&self.host, self.seen))
    }

    /// What its programs have to be told.
    pub(crate) fn environment(&self) -> Value {
        if self.host.starts_with("/usr") {
            return json!([]);
        }
        json!([{"name": "LD_LIBRARY_PATH", "value": self.seen_in_pod("lib")}])
    }
}
