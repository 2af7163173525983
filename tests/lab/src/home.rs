//! Where a lab lives: one short directory, with the two locks that say who uses it and who runs it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, statfs};
use serde::{Deserialize, Serialize};

use crate::progress::Progress;

/// The variable that puts a lab elsewhere, so that two can run side by side.
pub const DIRECTORY_VARIABLE: &str = "TANDEM_LAB_DIR";
const DEFAULT_DIRECTORY: &str = "/tmp/tandem-lab";
/// Socket paths below the directory have to fit the kernel's limit of 108 bytes.
const LONGEST_DIRECTORY: usize = 48;
/// Replaced by empty directories in the lab's own mount namespace, so nothing in them can be seen there.
const HIDDEN: [&str; 3] = ["/run", "/var/lib", "/var/log"];

/// A lab's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    dir: PathBuf,
}

/// What a running lab says about itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct State {
    /// Process id of the supervisor, which is in the lab's network namespace.
    pub(crate) supervisor: i32,
    /// The binary with all of Kubernetes' programs.
    pub(crate) kube: PathBuf,
    /// The name server's binary.
    pub(crate) dns: PathBuf,
    /// Which build of the `lab` binary runs it.
    pub(crate) build: String,
}

impl Home {
    /// The directory that the environment asks for, or the usual one.
    ///
    /// # Errors
    /// When the directory cannot hold a lab: relative, too long, or hidden inside the lab.
    pub fn of_environment() -> Result<Self> {
        let dir =
            std::env::var_os(DIRECTORY_VARIABLE).map_or_else(|| DEFAULT_DIRECTORY.into(), PathBuf::from);
        Self::at(dir)
    }

    /// A lab in the given directory.
    ///
    /// # Errors
    /// As [`Home::of_environment`].
    pub fn at(dir: PathBuf) -> Result<Self> {
        if !dir.is_absolute() || dir.as_os_str().len() > LONGEST_DIRECTORY {
            bail!(
                "{} cannot hold a lab: set {DIRECTORY_VARIABLE} to an absolute path of at most {LONGEST_DIRECTORY} bytes",
                dir.display()
            );
        }
        refuse_hidden(&dir)?;
        Ok(Self { dir })
    }

    /// The directory itself.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub(crate) fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        self.dir.join(path)
    }

    pub(crate) fn log(&self, program: &str) -> PathBuf {
        self.dir.join("log").join(format!("{program}.log"))
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.join("admin.kubeconfig")
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.join("ready").exists()
    }

    /// Why the last start failed, if it did.
    pub(crate) fn failure(&self) -> Option<String> {
        fs::read_to_string(self.join("failed")).ok()
    }

    pub(crate) fn state(&self) -> Result<State> {
        let path = self.join("state.json");
        let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("cannot understand {}", path.display()))
    }

    pub(crate) fn create(&self) -> Result<()> {
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&self.dir);
        made.with_context(|| format!("cannot create {}", self.dir.display()))?;
        let found = fs::symlink_metadata(&self.dir)?;
        if !found.is_dir() || found.uid() != nix::unistd::geteuid().as_raw() {
            bail!(
                "{} is not a directory of this user: remove it, or set {DIRECTORY_VARIABLE}",
                self.dir.display()
            );
        }
        Ok(())
    }

    /// Containers' file systems are overlays in the directory, and an overlay cannot be made on another.
    pub(crate) fn check_file_system(&self) -> Result<()> {
        let found = statfs(&self.dir).with_context(|| format!("cannot look at {}", self.dir.display()))?;
        if found.filesystem_type() == OVERLAYFS_SUPER_MAGIC {
            bail!(
                "{} is in a container's own file system: set {DIRECTORY_VARIABLE} to a directory on a volume or a tmpfs",
                self.dir.display()
            );
        }
        Ok(())
    }

    /// Announces a client: as long as the returned file is open, the lab goes on.
    pub(crate) fn lock_as_client(&self) -> Result<File> {
        loop {
            self.create()?;
            let path = self.join("clients");
            let Ok(file) = open(&path) else { continue };
            file.lock_shared()
                .with_context(|| format!("cannot lock {}", path.display()))?;
            if is_still_at(&file, &path) {
                return Ok(file);
            }
        }
    }

    /// Holds off new clients, if there is none.
    pub(crate) fn lock_against_clients(&self) -> Result<Option<File>> {
        try_exclusively(open(&self.join("clients"))?)
    }

    /// Makes the caller the one supervisor of this directory, or says that there is one.
    pub(crate) fn lock_as_supervisor(&self) -> Result<Option<File>> {
        // Someone who only looks whether a supervisor runs holds the lock for a moment.
        let deadline = Instant::now() + Duration::from_secs(2);
        let path = self.join("supervisor");
        loop {
            if let Some(lock) = try_exclusively(open(&path)?)?.filter(|lock| is_still_at(lock, &path)) {
                return Ok(Some(lock));
            }
            if Instant::now() > deadline {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until nobody else of this lab does the named thing. Others wait as long as the returned file is open.
    pub(crate) fn alone(&self, name: &str) -> Result<File> {
        let path = self.join(format!("{name}.lock"));
        let file = open(&path)?;
        let _waiting = Progress::start(format!("waiting for another test to finish with {name}"));
        file.lock()
            .with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(file)
    }

    /// Whether a supervisor runs in this directory.
    pub(crate) fn is_supervised(&self) -> bool {
        File::open(self.join("supervisor"))
            .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}

fn refuse_hidden(dir: &Path) -> Result<()> {
    for hidden in HIDDEN {
        if dir.starts_with(hidden) {
            bail!(
                "{} cannot be used by a lab: the lab has its own {hidden}",
                dir.display()
            );
        }
    }
    Ok(())
}

/// Directories that are the lab's own inside it.
pub(crate) fn hidden_directories() -> &'static [&'static str] {
    &HIDDEN
}

fn open(path: &Path) -> Result<File> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path);
    file.with_context(|| format!("cannot open {}", path.display()))
}

/// A lab that ends removes its locks; who waited for one may hold what nobody else can find any more.
fn is_still_at(file: &File, path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|now| file.metadata().is_ok_and(|ours| ours.ino() == now.ino()))
}

fn try_exclusively(file: File) -> Result<Option<File>> {
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error).context("cannot lock a file of the lab"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_that_cannot_hold_a_lab_are_refused() {
        for dir in [
            "relative",
            "/run/lab",
            "/var/lib/ci/lab",
            &format!("/tmp/{}", "x".repeat(60)),
        ] {
            assert!(Home::at(dir.into()).is_err(), "{dir} was accepted");
        }
        assert!(Home::at("/tmp/lab".into()).is_ok());
    }

    #[test]
    fn a_client_keeps_the_lab_and_its_end_frees_it() {
        let dir = tempfile::Builder::new().prefix("lab").tempdir_in("/tmp").unwrap();
        let home = Home::at(dir.path().join("h")).unwrap();
        let client = home.lock_as_client().unwrap();
        let second = home.lock_as_client().unwrap();
        assert!(home.lock_against_clients().unwrap().is_none());
        drop((client, second));
        assert!(home.lock_against_clients().unwrap().is_some());
    }

    #[test]
    fn there_is_one_supervisor() {
        let dir = tempfile::Builder::new().prefix("lab").tempdir_in("/tmp").unwrap();
        let home = Home::at(dir.path().join("h")).unwrap();
        home.create().unwrap();
        assert!(!home.is_supervised());
        let lock = home.lock_as_supervisor().unwrap();
        assert!(lock.is_some() && home.is_supervised());
        assert!(home.lock_as_supervisor().unwrap().is_none());
    }
}
