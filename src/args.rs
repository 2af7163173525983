//! Flags, with the environment behind them, and the wiring of everything.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

use crate::controller::{self, Settings};
use crate::effects::places::Limits;
use crate::manifest;
use crate::manifest::rbac::{ClusterObject, Instance};
use crate::telemetry::logs::{self, Format};

/// Rotates PostgreSQL credentials with two users that alternate.
#[derive(Debug, Parser)]
#[command(name = "tandem", version)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the controller.
    Run(Run),
    /// Prints the custom resource definition.
    Crd,
    /// Prints exactly the Role that policies need, each Secret by its name, and its binding.
    Rbac(Rbac),
    /// Prints the function that changes passwords in the administrator's stead, for a person to run in the database.
    #[command(subcommand)]
    Sql(Sql),
    /// Prints exactly the IAM policy that policies need for their secrets in AWS.
    Iam(Iam),
}

#[derive(Debug, clap::Args)]
struct Run {
    /// Watch the policies of this namespace only; all namespaces when absent.
    #[arg(long, env = "TANDEM_NAMESPACE")]
    namespace: Option<String>,
    /// Namespace of the lease.
    #[arg(long, env = "TANDEM_LEASE_NAMESPACE", default_value = "tandem-system")]
    lease_namespace: String,
    /// Name of the lease.
    #[arg(long, env = "TANDEM_LEASE_NAME", default_value = "tandem")]
    lease_name: String,
    /// Name of this replica in the lease and in Events.
    #[arg(long, env = "TANDEM_IDENTITY")]
    identity: String,
    /// How many rotations may be under way at once in a namespace, each for no longer than its policy's
    /// `restart.timeout`. Others wait for their turn.
    #[arg(long, env = "TANDEM_MAX_ROTATIONS_PER_NAMESPACE", default_value = "10")]
    max_rotations_per_namespace: NonZeroUsize,
    /// The same at a database server, by host and port.
    #[arg(long, env = "TANDEM_MAX_ROTATIONS_PER_SERVER", default_value = "10")]
    max_rotations_per_server: NonZeroUsize,
    /// Where /livez, /readyz and /metrics are served.
    #[arg(long, env = "TANDEM_HTTP_ADDRESS", default_value = "0.0.0.0:8080")]
    http_address: SocketAddr,
    /// What is logged.
    #[arg(long, env = "TANDEM_LOG", default_value = "info")]
    log: String,
    /// Shape of a log line.
    #[arg(long, env = "TANDEM_LOG_FORMAT", default_value_t = Format::Json)]
    log_format: Format,
    /// File that says before or after which write the process ends; for tests.
    #[cfg(feature = "fault-injection")]
    #[arg(long, env = "TANDEM_FAULT_FILE")]
    fault_file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Rbac {
    /// File with one or more policies; - for standard input.
    #[arg(short, long)]
    filename: PathBuf,
    /// Also an object of External Secrets Operator that is in no namespace: `clustersecretstores/NAME` to read it,
    /// `clusterexternalsecrets/NAME` to ask it to sync; can be given several times.
    #[arg(long, value_name = "RESOURCE/NAME")]
    cluster_object: Vec<ClusterObject>,
    /// Also the Deployment of an instance of Stakater Reloader, to see whether it runs; can be given several times.
    #[arg(long, value_name = "NAMESPACE/DEPLOYMENT")]
    reloader: Vec<Instance>,
    /// Namespace of the controller's service account.
    #[arg(long, default_value = "tandem-system")]
    account_namespace: String,
    /// Name of the controller's service account.
    #[arg(long, default_value = "tandem")]
    account: String,
}

#[derive(Debug, clap::Args)]
struct Iam {
    /// File with one or more policies; - for standard input.
    #[arg(short, long)]
    filename: PathBuf,
    /// For this role that the controller assumes; for the controller's own identity when absent.
    #[arg(long)]
    role: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Sql {
    /// Prints the script that installs it.
    Install(Script),
    /// Prints the script that takes it away.
    Uninstall(Script),
}

#[derive(Debug, clap::Args)]
struct Script {
    /// File with one or more policies; - for standard input.
    #[arg(short, long)]
    filename: PathBuf,
    /// Role that Tandem logs in as, the user name in the administrator's Secret.
    #[arg(long)]
    admin: String,
}

impl Args {
    /// Does what was asked.
    ///
    /// # Errors
    /// Says what could not be done.
    pub fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Crd => print(&manifest::crd()?),
            Command::Rbac(rbac) => {
                let policies = read(&rbac.filename)?;
                print(&manifest::rbac::rbac(
                    &policies,
                    &rbac.cluster_object,
                    &rbac.reloader,
                    &rbac.account_namespace,
                    &rbac.account,
                )?)
            }
            Command::Iam(iam) => {
                let policies = read(&iam.filename)?;
                print(&manifest::iam::iam(&policies, iam.role.as_deref())?)
            }
            Command::Sql(Sql::Install(script)) => {
                print(&manifest::sql::install(&read(&script.filename)?, &script.admin)?)
            }
            Command::Sql(Sql::Uninstall(script)) => print(&manifest::sql::uninstall(
                &read(&script.filename)?,
                &script.admin,
            )?),
            Command::Run(run) => {
                logs::start(&run.log, run.log_format)?;
                let settings = Settings {
                    namespace: run.namespace,
                    lease_namespace: run.lease_namespace,
                    lease_name: run.lease_name,
                    identity: run.identity,
                    limits: Limits {
                        per_namespace: run.max_rotations_per_namespace,
                        per_server: run.max_rotations_per_server,
                    },
                    http_address: run.http_address,
                    #[cfg(feature = "fault-injection")]
                    fault_file: run.fault_file,
                };
                tokio::runtime::Builder::new_multi_thread()
                    .enable_all()
                    .build()
                    .context("failed to start the runtime")?
                    .block_on(controller::run(settings))
            }
        }
    }
}

fn read(path: &PathBuf) -> anyhow::Result<String> {
    let mut text = String::new();
    if path.as_os_str() == "-" {
        std::io::stdin()
            .read_to_string(&mut text)
            .context("failed to read standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
}

/// A reader that has seen enough and closes the pipe is not an error.
fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("failed to write to standard output"),
    }
}
