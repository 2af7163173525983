//! Stands still before or after a chosen write, so that a test can kill the real program between any two of them. Only
//! compiled with the feature `fault-injection`.
//!
//! The process does not kill itself: as the first process of its container it is immune to its own SIGKILL. It
//! says where it stands and waits for the real one from outside.

use std::fs;
use std::path::{Path, PathBuf};

/// Counts writes down in a file outside the process, so that the count survives the death it brings and the fault
/// strikes once.
#[derive(Clone, Debug)]
pub struct Fault {
    file: Option<PathBuf>,
}

impl Fault {
    /// A fault that is described in this file: `before N` or `after N`, N counted from 1. When it is reached the file
    /// becomes one with the extension `reached`.
    #[must_use]
    pub fn new(file: Option<PathBuf>) -> Self {
        Self { file }
    }

    /// To be called before each write.
    pub async fn before(&self) {
        if let Some(("before", 1, path)) = self.plan() {
            stand_still(path).await;
        }
    }

    /// To be called after each write.
    pub async fn after(&self) {
        match self.plan() {
            Some(("after", 1, path)) => stand_still(path).await,
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

async fn stand_still(path: &Path) {
    // With the file still there, the next process would stand still at the same place.
    if fs::rename(path, path.with_extension("reached")).is_ok() {
        std::future::pending::<()>().await;
    }
}
