//! The operator's process.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, Result};
use kube::config::Kubeconfig;
use serde::Deserialize;

use super::EsoOptions;
use crate::node::private;
use crate::process::{self, Process};

const LOG: &str = "operator.log";
/// The parts of the operator whose work tests wait for.
const PARTS: [&str; 4] = [
    "clustersecretstore",
    "externalsecret",
    "pushsecret",
    "secretstore",
];
const CLUSTER_PART: &str = "clusterexternalsecret";

/// Starts the operator of a namespace, and waits until each of its parts works.
pub(super) async fn start(
    program: &Path,
    dir: &Path,
    kubeconfig: &Kubeconfig,
    namespace: &str,
    options: &EsoOptions,
) -> Result<Process> {
    let config = dir.join("kubeconfig");
    private(&config, &serde_json::to_string(kubeconfig)?)?;
    let (home, config) = (text(dir)?, text(&config)?);
    let environment = [
        ("HOME", home),
        ("KUBECONFIG", config),
        ("AWS_REGION", &options.region),
        ("AWS_SECRETSMANAGER_ENDPOINT", &options.aws),
        ("AWS_STS_ENDPOINT", &options.aws),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ];
    let mut process = Process::start(
        "the External Secrets Operator",
        program,
        &arguments(namespace, options),
        &environment,
        &dir.join(LOG),
    )?;
    let mut parts = BTreeSet::from(PARTS);
    if options.cluster_external_secrets {
        parts.insert(CLUSTER_PART);
    }
    let works = |log: &str| {
        let working = started(log);
        parts.iter().all(|part| working.contains(*part))
    };
    process.wait_until_working(works).await?;
    Ok(process)
}

/// What all runs in a directory have logged.
pub(super) fn logs(dir: &Path) -> Result<String> {
    process::read(&dir.join(LOG))
}

fn text(path: &Path) -> Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is no text", path.display()))
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
