//! The second opinion: moto, an emulator of many services that others wrote, from its package on `PyPI`.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::host::{cache, exclusively};
use crate::progress::Progress;

const RELEASE: &str = "5.2.5";

/// A running moto on loopback, for tests only. It ends when it is dropped.
#[derive(Debug)]
pub struct Moto {
    server: Child,
    endpoint: String,
}

impl Moto {
    /// Starts one, installing it on first use.
    ///
    /// # Errors
    /// When it cannot be installed or does not start.
    pub fn start() -> Result<Self> {
        let program = install()?.join("bin/moto_server");
        let mut server = Command::new(&program)
            .args(["-H", "127.0.0.1", "-p", "0"])
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let said = server.stderr.take().context("moto has no standard error")?;
        let mut moto = Self {
            server,
            endpoint: String::new(),
        };
        let mut lines = BufReader::new(said).lines();
        for line in lines.by_ref() {
            let line = line.context("cannot read what moto says")?;
            if let Some((_, endpoint)) = line.split_once("Running on ") {
                endpoint.trim().clone_into(&mut moto.endpoint);
                // It logs each request, and would stop at a full pipe.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(moto);
            }
        }
        bail!(
            "moto ended without having listened: run `{} -p 0`",
            program.display()
        )
    }

    /// Where it listens.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Its virtual environment, made on first use.
fn install() -> Result<PathBuf> {
    let home = cache()?.join(format!("moto-{RELEASE}"));
    let done = home.join("done");
    if done.exists() {
        return Ok(home);
    }
    let _lock = exclusively("moto")?;
    if done.exists() {
        return Ok(home);
    }
    let _progress = Progress::start(format!("installing moto {RELEASE}"));
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home))?;
    run(pip(&home)
        .args(["install", "--quiet", "--disable-pip-version-check"])
        .arg(format!("moto[secretsmanager,server]=={RELEASE}")))?;
    fs::write(&done, "").with_context(|| format!("cannot write {}", done.display()))?;
    Ok(home)
}

/// An environment cannot be moved once it is made, so it is made in its place and marked when it is whole.
fn pip(home: &Path) -> Command {
    Command::new(home.join("bin/pip"))
}

fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| {
        format!("moto is a Python package, and `{name}` cannot be run: install python3 and python3-venv")
    })?;
    if !output.status.success() {
        bail!(
            "`{name}` failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
