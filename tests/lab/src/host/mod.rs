//! What the lab needs of the machine, found or made before anything starts.

mod packages;
pub(crate) mod pgbouncer;
pub(crate) mod postgres;
pub(crate) mod programs;

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::progress::Progress;

/// The programs that a lab runs and that no package brings.
pub(crate) struct Host {
    pub(crate) kube: PathBuf,
    pub(crate) dns: PathBuf,
}

/// Checks the machine, installs the packages that it lacks, and builds the programs that no package brings.
pub(crate) fn prepare() -> Result<Host> {
    check()?;
    packages::install(packages::NODE)?;
    Ok(Host {
        kube: programs::kube()?,
        dns: programs::dns()?,
    })
}

/// Starts to build what only some tests need, unless that is done.
///
/// Whoever comes to need it before it is done waits for the rest only. The process that builds lets everything else go
/// first, and outlives this one, so that the next start finds the work done.
pub(crate) fn prepare_ahead(lab: &Path) -> Result<()> {
    if programs::is_built_ahead()? {
        return Ok(());
    }
    let path = cache()?.join("build-ahead.log");
    let log = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    let mut command = Command::new("setsid");
    command
        .args(["--fork", "nice", "-n", "19"])
        .arg(lab)
        .arg("build-ahead");
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let status = command
        .status()
        .context("cannot run setsid (package util-linux)")?;
    if !status.success() {
        bail!("cannot start to build ahead: setsid {status}");
    }
    Ok(())
}

fn check() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("the lab runs a real kubelet and needs root: run this as root (CI: a privileged job)");
    }
    let file_systems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !file_systems.split_whitespace().any(|name| name == "overlay") {
        bail!("the lab's containers need overlayfs, which this kernel does not have: `modprobe overlay`");
    }
    if !["net", "pid", "mnt"]
        .iter()
        .all(|name| fs::exists(format!("/proc/self/ns/{name}")).unwrap_or(false))
    {
        bail!("the lab needs network, process and mount namespaces, and this kernel lacks one of them");
    }
    Ok(())
}

/// What is expensive to make is kept here, for all labs of this user.
pub(crate) fn cache() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let base = base.or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    let dir = base
        .context("no place for what the lab builds: set HOME or XDG_CACHE_HOME")?
        .join("tandem-lab");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    Ok(dir)
}

/// Lets one process at a time make the named thing; the others wait, and then find it made.
pub(crate) fn exclusively(name: &str) -> Result<File> {
    let path = cache()?.join(format!("{name}.lock"));
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    let _waiting = Progress::start(format!("waiting for another process to finish {name}"));
    file.lock()
        .with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}
