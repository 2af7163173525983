//! The real program, as a process.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result};
use kube::config::Kubeconfig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

use crate::node::private;

/// A running program; it ends with the value, and with the thread that started it.
pub(super) struct Process {
    child: Child,
}

impl Process {
    pub(super) fn start(
        program: &Path,
        log: &Path,
        kubeconfig: &Kubeconfig,
        args: &[String],
        env: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let config = log.with_extension("kubeconfig");
        private(&config, &serde_json::to_string(kubeconfig)?)?;
        let file = OpenOptions::new().create(true).append(true).open(log);
        let file = file.with_context(|| format!("cannot open {}", log.display()))?;
        // A test that is killed has no time to end it, so the kernel does.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(args)
            .env_clear()
            .env("KUBECONFIG", &config)
            .envs(env)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true);
        let child = command
            .spawn()
            .context("cannot run setpriv (package util-linux)")?;
        Ok(Self { child })
    }

    pub(super) async fn kill(mut self) -> Result<()> {
        self.child.kill().await.context("cannot end Reloader")
    }

    pub(super) fn freeze(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    pub(super) fn thaw(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    pub(super) fn exit(&mut self) -> Result<Option<i32>> {
        let status = self.child.try_wait().context("cannot ask how Reloader ended")?;
        Ok(status.and_then(|status| status.code()))
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let id = self.child.id().context("Reloader has ended")?;
        let id = Pid::from_raw(i32::try_from(id)?);
        kill(id, signal).with_context(|| format!("cannot send {signal} to Reloader"))
    }
}
