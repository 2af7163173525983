//! A program of the machine that runs beside the test, with its log.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use crate::poll::eventually;
use crate::supervise::describe;

const WORKING: Duration = Duration::from_secs(30);
/// As many lines of the log as an error shows.
const LINES: usize = 8;

/// A running program; it ends with the value, and with the thread that started it.
pub(crate) struct Process {
    /// What people call it.
    name: &'static str,
    child: Child,
    log: PathBuf,
    /// How long the log was when the process began.
    start: usize,
}

impl Process {
    /// Starts it with these arguments and no other environment than this one. Its log is continued.
    pub(crate) fn start(
        name: &'static str,
        program: &Path,
        arguments: &[String],
        environment: &[(&str, &str)],
        log: &Path,
    ) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(log);
        let file = file.with_context(|| format!("cannot open {}", log.display()))?;
        let start = usize::try_from(file.metadata()?.len())?;
        // A test that is killed has no time to end what it started, so the kernel does.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(arguments)
            .env_clear()
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true);
        let child = command
            .spawn()
            .context("cannot run setpriv (package util-linux)")?;
        Ok(Self {
            name,
            child,
            log: log.to_owned(),
            start,
        })
    }

    /// Waits until its log since the start shows that it works.
    pub(crate) async fn wait_until_working(&mut self, works: impl Fn(&str) -> bool) -> Result<()> {
        let Self {
            name,
            child,
            log,
            start,
        } = self;
        let what = format!("{name} to work");
        let working = eventually(what, WORKING, async || {
            let text = read(log)?;
            if let Some(status) = child.try_wait()? {
                return Ok(Some(Err(anyhow!("{name} {}", describe(status)))));
            }
            Ok(works(text.get(*start..).unwrap_or_default()).then_some(Ok(())))
        });
        let outcome = working.await.and_then(|outcome| outcome);
        outcome.with_context(|| {
            format!(
                "the end of {}:\n{}",
                log.display(),
                tail(&read(log).unwrap_or_default())
            )
        })
    }

    /// Holds it where it is: what happens meanwhile waits for it.
    pub(crate) fn freeze(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let name = self.name;
        let id = self.child.id().with_context(|| format!("{name} has ended"))?;
        let id = Pid::from_raw(i32::try_from(id)?);
        kill(id, signal).with_context(|| format!("cannot send {signal} to {name}"))
    }

    /// The code with which it ended by itself; nothing while it runs.
    pub(crate) fn exit(&mut self) -> Result<Option<i32>> {
        let name = self.name;
        let status = self.child.try_wait();
        let status = status.with_context(|| format!("cannot ask how {name} ended"))?;
        Ok(status.and_then(|status| status.code()))
    }

    /// Ends it without a warning, and waits until it is gone.
    pub(crate) async fn kill(mut self) -> Result<()> {
        let name = self.name;
        self.child
            .kill()
            .await
            .with_context(|| format!("cannot end {name}"))
    }
}

/// A log as text.
pub(crate) fn read(path: &Path) -> Result<String> {
    let log = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&log).into_owned())
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines
        .get(lines.len().saturating_sub(LINES)..)
        .unwrap_or_default()
        .join("\n")
}
