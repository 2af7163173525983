//! Ends the process before or after a chosen write, so that a test can kill the real program between any two of
//! them. Only compiled with the feature `fault-injection`.

use std::fs;
use std::path::{Path, PathBuf};

/// Counts writes down in a file outside the process, so that the count survives the death it brings and the fault
/// strikes once.
#[derive(Clone, Debug)]
pub struct Fault {
    file: Option<PathBuf>,
}

impl Fault {
    /// A fault that is described in this file: `before N` or `after N`, N counted from 1.
    #[must_use]
    pub fn new(file: Option<PathBuf>) -> Self {
        Self { file }
    }

    /// To be called before each write.
    pub fn before(&self) {
        if let Some(("before", 1, path)) = self.plan() {
            die(path);
        }
    }

    /// To be called after each write.
    pub fn after(&self) {
        match self.plan() {
            Some(("after", 1, path)) => die(path),
            Some((when, n, path)) if n > 1 => drop(fs::write(path, format!("{when} {}", n - 1))),
            Some(_) | None => {}
        }
    }

    fn plan(&self) -> Option<(&'static str, u32, &Path)> {
        let path = self.file.as_deref()?;
        let text = fs::read_to_string(path).ok()?;
        let (when, n) = text.trim().split_once(' ')?;
        let when = match when {
            "before" => "before",
            "after" => "after",
            _ => return None,
        };
        Some((when, n.parse().ok()?, path))
    }
}

fn die(path: &Path) {
    // Without the file gone first, the next process would die at the same place for ever.
    if fs::remove_file(path).is_ok() {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}
