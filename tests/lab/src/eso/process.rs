//! The operator's process.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use kube::config::Kubeconfig;
use serde::Deserialize;
use tokio::process::{Child, Command};

use super::EsoOptions;
use crate::node::private;
use crate::poll::eventually;
use crate::supervise::describe;

const LOG: &str = "operator.log";
const WORKING: Duration = Duration::from_secs(30);
/// As many lines of the log as an error shows.
const LINES: usize = 8;
/// The parts of the operator whose work tests wait for.
const PARTS: [&str; 4] = [
    "clustersecretstore",
    "externalsecret",
    "pushsecret",
    "secretstore",
];
const CLUSTER_PART: &str = "clusterexternalsecret";

/// A running operator; it ends with the value, and with the thread that started it.
pub(super) struct Process {
    child: Child,
    log: PathBuf,
    /// How long the log was when the process began.
    start: usize,
    parts: BTreeSet<&'static str>,
}

impl Process {
    pub(super) fn start(
        program: &Path,
        dir: &Path,
        kubeconfig: &Kubeconfig,
        namespace: &str,
        options: &EsoOptions,
    ) -> Result<Self> {
        let config = dir.join("kubeconfig");
        private(&config, &serde_json::to_string(kubeconfig)?)?;
        let path = dir.join(LOG);
        let log = OpenOptions::new().create(true).append(true).open(&path);
        let log = log.with_context(|| format!("cannot open {}", path.display()))?;
        let start = usize::try_from(log.metadata()?.len())?;
        // A test that is killed has no time to end its operator, so the kernel does.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(program)
            .args(arguments(namespace, options))
            .env_clear()
            .env("HOME", dir)
            .env("KUBECONFIG", &config)
            .env("AWS_REGION", &options.region)
            .env("AWS_SECRETSMANAGER_ENDPOINT", &options.aws)
            .env("AWS_STS_ENDPOINT", &options.aws)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        let child = command
            .spawn()
            .context("cannot run setpriv (package util-linux)")?;
        let mut parts = BTreeSet::from(PARTS);
        if options.cluster_external_secrets {
            parts.insert(CLUSTER_PART);
        }
        Ok(Self {
            child,
            log: path,
            start,
            parts,
        })
    }

    /// Waits until each of its parts works.
    pub(super) async fn wait_until_working(&mut self) -> Result<()> {
        let Self {
            child,
            log,
            start,
            parts,
        } = self;
        let working = eventually("the External Secrets Operator to work", WORKING, async || {
            let text = read(log)?;
            if let Some(status) = child.try_wait()? {
                return Ok(Some(Err(anyhow!(
                    "the External Secrets Operator {}",
                    describe(status)
                ))));
            }
            let working = started(text.get(*start..).unwrap_or_default());
            Ok(parts.iter().all(|part| working.contains(*part)).then_some(Ok(())))
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

    /// Ends it without a warning, and waits until it is gone.
    pub(super) async fn kill(mut self) -> Result<()> {
        self.child
            .kill()
            .await
            .context("cannot end the External Secrets Operator")
    }
}

/// What all runs in a directory have logged.
pub(super) fn logs(dir: &Path) -> Result<String> {
    read(&dir.join(LOG))
}

fn arguments(namespace: &str, options: &EsoOptions) -> Vec<String> {
    let mut arguments = vec![
        format!("--namespace={namespace}"),
        // Stores of no class are everybody's; in a namespace there is nobody else.
        format!("--controller-class={namespace}"),
        format!(
            "--enable-cluster-external-secret-reconciler={}",
            options.cluster_external_secrets
        ),
        "--enable-cluster-push-secret-reconciler=false".to_owned(),
        // Not to listen at all is the way not to collide.
        "--metrics-addr=0".to_owned(),
        "--live-addr=0".to_owned(),
        "--loglevel=debug".to_owned(),
        "--zap-time-encoding=rfc3339nano".to_owned(),
    ];
    arguments.extend(options.args.iter().cloned());
    arguments
}

/// A line of the log; what else is in it does not matter.
#[derive(Deserialize)]
struct Line {
    msg: String,
    controller: String,
}

/// The parts that have begun to work.
fn started(log: &str) -> BTreeSet<String> {
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Line>(line).ok());
    lines
        .filter(|line| line.msg == "Starting workers")
        .map(|line| line.controller)
        .collect()
}

fn read(path: &Path) -> Result<String> {
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
