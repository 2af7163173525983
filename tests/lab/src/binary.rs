//! The `lab` binary: the lab's processes and the programs in its pods are all this one.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::progress::Progress;

/// The path of an up-to-date `lab`: this program when it is that, and else what cargo builds.
pub(crate) fn path() -> Result<PathBuf> {
    let current = std::env::current_exe().context("cannot find this program")?;
    if current.file_name().is_some_and(|name| name == "lab") {
        return Ok(current);
    }
    build("lab")
}

/// Builds the controller as it is shipped, without what only its own tests want, and says where it is.
///
/// A test of the package `tandem` has its binary already: `env!("CARGO_BIN_EXE_tandem")`.
///
/// # Errors
/// When it does not build.
pub fn controller() -> Result<PathBuf> {
    build("tandem")
}

#[derive(Deserialize)]
struct Message {
    reason: String,
    executable: Option<PathBuf>,
    target: Option<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// Builds one of the workspace's binaries and says where it is.
///
/// Both packages are named, so that their dependencies get the features that `cargo test` gave them and nothing is
/// compiled twice.
fn build(name: &str) -> Result<PathBuf> {
    let _progress = Progress::start(format!("building the binary {name}"));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args([
        "build",
        "--quiet",
        "--package",
        "tandem",
        "--package",
        "tandem-lab",
        "--bin",
        name,
    ]);
    command
        .args(["--message-format", "json-render-diagnostics"])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    // Settings that cargo made for the package under test are not for this build.
    for (variable, _) in std::env::vars_os() {
        let of_package = variable
            .to_str()
            .is_some_and(|text| text.starts_with("CARGO_PKG_"));
        if of_package || variable == "CARGO_MANIFEST_DIR" || variable == "CARGO_MANIFEST_PATH" {
            command.env_remove(variable);
        }
    }
    let output = command
        .output()
        .context("cannot run cargo to build the lab's binary")?;
    if !output.status.success() {
        bail!(
            "building the binary {name} failed:\n{}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let messages = output
        .stdout
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<Message>(line).ok());
    let artifacts = messages.filter(|message| message.reason == "compiler-artifact");
    let ours = artifacts.filter(|message| message.target.as_ref().is_some_and(|target| target.name == name));
    ours.filter_map(|message| message.executable)
        .next_back()
        .with_context(|| format!("cargo built no binary {name}"))
}

/// Tells builds of the binary from one another.
pub(crate) fn fingerprint(binary: &Path) -> Result<String> {
    let found = std::fs::metadata(binary).with_context(|| format!("cannot find {}", binary.display()))?;
    let changed = found.modified()?.duration_since(UNIX_EPOCH)?.as_nanos();
    Ok(format!("{}-{changed}", found.len()))
}
