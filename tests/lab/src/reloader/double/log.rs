//! What the double has to say for itself.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use jiff::Timestamp;

/// The end of a file.
#[derive(Clone)]
pub(super) struct Log {
    file: Arc<File>,
}

impl Log {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { file: Arc::new(file) })
    }

    pub(super) fn say(&self, line: &str) {
        // A log that cannot be written is no reason to do anything differently.
        let _ = writeln!(&*self.file, "{} {line}", Timestamp::now());
    }
}
