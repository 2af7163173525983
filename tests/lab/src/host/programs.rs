//! Our own Go modules, built once for each content and kept.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{cache, exclusively};
use crate::progress::Progress;

const KUBERNETES: &str = "v1.36.3";
const ESO: &str = "eso";
const ROLLOUTS: &str = "rollouts";
/// A module of ours is its own program, unless it only names somebody else's.
const OWN: &str = ".";
const ROLLOUTS_PROGRAM: &str = "github.com/argoproj/argo-rollouts/cmd/rollouts-controller";

/// All programs of Kubernetes in one binary.
pub(crate) fn kube() -> Result<PathBuf> {
    let version = "k8s.io/component-base/version";
    let flags =
        format!("-X {version}.gitVersion={KUBERNETES} -X {version}.gitMajor=1 -X {version}.gitMinor=36");
    build("kube", OWN, &flags, "the first time takes some 10 minutes")
}

/// The name server.
pub(crate) fn dns() -> Result<PathBuf> {
    build("dns", OWN, "", "the first time takes some 2 minutes")
}

/// The External Secrets Operator.
pub(crate) fn eso() -> Result<PathBuf> {
    build(ESO, OWN, "", "the first time takes some 10 minutes")
}

/// The controller of Argo Rollouts.
pub(crate) fn rollouts() -> Result<PathBuf> {
    build(
        ROLLOUTS,
        ROLLOUTS_PROGRAM,
        "",
        "the first time takes some 5 minutes",
    )
}

/// The directory with the operator's own definitions of its objects: its module brings them.
pub(crate) fn eso_definitions() -> Result<PathBuf> {
    let source = download(ESO, "github.com/external-secrets/external-secrets")?;
    Ok(source.join("config/crds/bases"))
}

/// The same of Argo Rollouts.
pub(crate) fn rollouts_definitions() -> Result<PathBuf> {
    let source = download(ROLLOUTS, "github.com/argoproj/argo-rollouts")?;
    Ok(source.join("manifests/crds"))
}

/// The source of a module that one of ours depends on.
fn download(name: &str, dependency: &str) -> Result<PathBuf> {
    let module = module(name);
    let output = Command::new("go")
        .args(["mod", "download", "-json", dependency])
        .current_dir(&module)
        .output()
        .context("cannot run `go mod download`")?;
    let downloaded: Downloaded =
        serde_json::from_slice(&output.stdout).context("cannot understand `go mod download -json`")?;
    match downloaded {
        Downloaded { dir: Some(dir), .. } => Ok(dir),
        Downloaded { error, .. } => bail!(
            "`go mod download` of {} failed: {}",
            module.display(),
            error.unwrap_or_else(|| String::from_utf8_lossy(&output.stderr).trim().to_owned())
        ),
    }
}

/// What `go mod download -json` says of one module.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Downloaded {
    dir: Option<PathBuf>,
    error: Option<String>,
}

/// Builds what only some tests need.
pub(crate) fn build_ahead() -> Result<()> {
    eso()?;
    rollouts().map(|_| ())
}

/// Whether [`build_ahead`] has nothing to do.
pub(crate) fn is_built_ahead() -> Result<bool> {
    Ok(place(ESO, "")?.exists() && place(ROLLOUTS, "")?.exists())
}

fn build(name: &str, program_in_it: &str, link_flags: &str, note: &str) -> Result<PathBuf> {
    let program = place(name, link_flags)?;
    if program.exists() {
        return Ok(program);
    }
    let _lock = exclusively(name)?;
    if program.exists() {
        return Ok(program);
    }
    let _progress = Progress::start(format!("building {name} ({note})"));
    // Built beside its place and moved there whole: what exists is complete.
    let (module, home) = (
        module(name),
        program.parent().context("a program without a directory")?,
    );
    let workshop = tempfile::tempdir_in(cache()?).context("cannot make a directory to build in")?;
    let output = Command::new("go")
        .args(["build", "-mod=readonly", "-buildvcs=false", "-ldflags"])
        .arg(format!("-s -w {link_flags}"))
        .arg("-o")
        .arg(workshop.path().join(name))
        .arg(program_in_it)
        .current_dir(&module)
        .output()
        .context("cannot run `go build`")?;
    if !output.status.success() {
        bail!(
            "`go build` of {} failed:\n{}",
            module.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let made = workshop.keep();
    fs::rename(&made, home)
        .with_context(|| format!("cannot move {} to {}", made.display(), home.display()))?;
    Ok(program)
}

fn module(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(name)
}

/// Where the binary is when it is built.
fn place(name: &str, link_flags: &str) -> Result<PathBuf> {
    let key = key(&module(name), link_flags)?;
    Ok(cache()?.join(format!("{name}-{key}")).join(name))
}

/// Everything that the binary depends on: the module's files, the flags and the compiler.
fn key(module: &Path, link_flags: &str) -> Result<String> {
    let mut hash = Sha256::new();
    for name in ["main.go", "go.mod", "go.sum"] {
        let path = module.join(name);
        match fs::read(&path) {
            Ok(content) => hash.update(content),
            // Somebody else's program needs none of ours.
            Err(error) if error.kind() == ErrorKind::NotFound && name == "main.go" => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }
    hash.update(link_flags);
    hash.update(compiler(module)?);
    let mut key = hex::encode(hash.finalize());
    key.truncate(12);
    Ok(key)
}

fn compiler(module: &Path) -> Result<Vec<u8>> {
    let asked = Command::new("go")
        .args(["env", "GOVERSION", "GOOS", "GOARCH"])
        .current_dir(module)
        .output();
    let answer = asked.context("the lab builds its programs from their published Go modules, and `go` is not on the PATH: install Go 1.26 or newer")?;
    if !answer.status.success() {
        bail!(
            "`go env` failed: {}",
            String::from_utf8_lossy(&answer.stderr).trim()
        );
    }
    Ok(answer.stdout)
}
