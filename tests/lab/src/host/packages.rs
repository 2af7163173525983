//! Debian's packages, installed by name when something of them is missing.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::exclusively;
use crate::progress::Progress;

/// A package, and a file by which its presence is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Package {
    name: &'static str,
    file: &'static str,
}

/// What a node needs.
pub(crate) const NODE: &[Package] = &[
    Package {
        name: "containerd",
        file: "/usr/bin/containerd",
    },
    Package {
        name: "runc",
        file: "/usr/sbin/runc",
    },
    Package {
        name: "containernetworking-plugins",
        file: "/usr/lib/cni/bridge",
    },
    Package {
        name: "busybox-static",
        file: "/bin/busybox",
    },
    Package {
        name: "iptables",
        file: "/usr/sbin/iptables",
    },
    Package {
        name: "iproute2",
        file: "/sbin/ip",
    },
];

/// The one PostgreSQL that Debian 12 has.
pub(crate) const POSTGRES_15: &[Package] = &[Package {
    name: "postgresql-15",
    file: "/usr/lib/postgresql/15/bin/postgres",
}];

/// The pooler.
pub(crate) const PGBOUNCER: &[Package] = &[Package {
    name: "pgbouncer",
    file: "/usr/sbin/pgbouncer",
}];

const CLUSTER_SETTINGS: &str = "/etc/postgresql-common/createcluster.conf";

/// Installs those of the packages that are not there.
pub(crate) fn install(packages: &[Package]) -> Result<()> {
    if missing(packages).is_empty() {
        return Ok(());
    }
    let _lock = exclusively("packages")?;
    let names = missing(packages);
    if names.is_empty() {
        return Ok(());
    }
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!(
            "the lab needs these Debian packages, and this machine has no apt-get to get them: {}",
            names.join(" ")
        );
    }
    let _progress = Progress::start(format!("installing {}", names.join(" ")));
    keep_postgres_from_starting()?;
    apt_get(&["update"])?;
    let mut arguments = vec![
        "install",
        "--yes",
        "--no-install-recommends",
        "-o",
        "Dpkg::Options::=--force-confold",
    ];
    arguments.extend(&names);
    apt_get(&arguments)?;
    match missing(packages).as_slice() {
        [] => Ok(()),
        still => bail!(
            "apt-get installed {}, but its files are not where Debian puts them",
            still.join(" ")
        ),
    }
}

fn missing(packages: &[Package]) -> Vec<&'static str> {
    packages
        .iter()
        .filter(|package| !Path::new(package.file).exists())
        .map(|package| package.name)
        .collect()
}

/// Debian's package makes a cluster and starts it; the lab only wants the programs.
fn keep_postgres_from_starting() -> Result<()> {
    let settings = Path::new(CLUSTER_SETTINGS);
    if settings.exists() {
        return Ok(());
    }
    if let Some(directory) = settings.parent() {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
    }
    std::fs::write(settings, "create_main_cluster = false\n")
        .with_context(|| format!("cannot write {CLUSTER_SETTINGS}"))
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command
        .arg("--quiet")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        // The lab only wants the programs: in single-user mode no package starts a service.
        .env("RUNLEVEL", "1");
    let output = command.output().context("cannot run apt-get")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`apt-get {}` failed: {}", arguments.join(" "), said.trim());
    }
    Ok(())
}
