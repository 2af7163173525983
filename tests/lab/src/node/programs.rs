//! The node's programs as processes.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::process::{Child, Command};

use crate::home::Home;
use crate::supervise::describe;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Everything that was started, each with a log of its own.
pub(super) struct Programs {
    home: Home,
    running: Mutex<Vec<(&'static str, Child)>>,
}

impl Programs {
    pub(super) fn new(home: &Home) -> Self {
        Self {
            home: home.clone(),
            running: Mutex::default(),
        }
    }

    pub(super) fn spawn(&self, name: &'static str, program: &Path, arguments: &[String]) -> Result<()> {
        let path = self.home.log(name);
        let log = OpenOptions::new().create(true).append(true).open(&path);
        let log = log.with_context(|| format!("cannot open {}", path.display()))?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", self.home.dir());
        command
            .current_dir(self.home.dir())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        self.running().push((name, child));
        Ok(())
    }

    /// Waits until one of the programs ends, and says which and how.
    pub(super) async fn first_to_end(&self) -> Result<String> {
        loop {
            if let Some(ended) = self.ended()? {
                return Ok(ended);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    fn ended(&self) -> Result<Option<String>> {
        for (name, child) in self.running().iter_mut() {
            if let Some(status) = child.try_wait()? {
                let log = self.home.log(name);
                let tail = tail(&std::fs::read_to_string(&log).unwrap_or_default());
                return Ok(Some(format!(
                    "{name} {}; the end of {}:\n{tail}",
                    describe(status),
                    log.display()
                )));
            }
        }
        Ok(None)
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Vec<(&'static str, Child)>> {
        self.running
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().rev().take(10).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
