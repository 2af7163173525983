//! The real surroundings that Tandem's tests and demo run in: a conformant single-node Kubernetes, PostgreSQL servers
//! and applications in it, started from nothing inside a network of their own.
//!
//! ```no_run
//! # use anyhow::Result;
//! tandem_lab::run(|lab| async move {
//!     let namespace = lab.namespace("orders").await?;
//!     namespace.secret("db-credentials", &[("username", "app_a")]).await
//! });
//! ```
//!
//! # The map of the house
//!
//! | room | what it knows |
//! |---|---|
//! | `run` | running a test inside the lab, and tidying up after it |
//! | `join` | being one of the lab's clients: finding, starting, entering it |
//! | `home` | the lab's directory and the locks in it |
//! | `supervise` | the process that holds a lab: its namespaces, its end, its leftovers |
//! | `node` | the programs that make the cluster, their configuration, keys and image |
//! | `host` | what is needed of the machine: packages, and our own Go modules in `programs/` |
//! | `postgres` | PostgreSQL servers as pods, and the usual pair of users in them |
//! | `pgbouncer` | `PgBouncer` in front of one of them |
//! | `consumer`, `tally` | applications as pods, in all ways of using a Secret, and what they counted |
//! | `controller` | a build of Tandem itself, deployed as `deploy/base` says |
//! | `eso` | the External Secrets Operator, one of its own for each namespace that wants one |
//! | `reloader` | Stakater Reloader: a double of it, or the real one |
//! | `argo` | Argo Rollouts, likewise |
//! | `aws` | AWS Secrets Manager, emulated |
//! | `finalizers` | taking them off what a test leaves behind |
//! | `audit` | what was asked of the API server, and by whom |
//! | `link` | a way to the API server that a test can cut |
//! | `process` | a program of the machine that runs beside the test |
//! | `pods` | parts of manifests; any program of the machine in a pod |
//! | `lab`, `namespace` | the cluster and a test's own corner of it |
//!
//! # How a lab lives
//!
//! The first client starts a *supervisor*, a process of its own that makes a network, a mount and a process namespace
//! and starts the cluster inside them. Clients hold a shared lock on a file; when nobody has held it for a quarter of a
//! minute the supervisor ends the namespace's first process, with which the kernel ends everything else, and removes
//! the directory. So a test that is killed keeps nothing alive, and a supervisor that is killed leaves only files.
//!
//! There is one lab for each directory: `/tmp/tandem-lab`, or what `TANDEM_LAB_DIR` says. In it, as long as it runs:
//!
//! | path | what |
//! |---|---|
//! | `log/` | the logs of the cluster's programs; `log/audit.jsonl` is the API server's audit log |
//! | `admin.kubeconfig` | the administrator's; it works inside the network: `lab exec`, `lab kubectl` |
//! | `postgres/<namespace>/<name>/` | a server's settings, certificate and `server.log` |
//! | `pgbouncer/<namespace>/<name>/` | a pooler's settings, certificate and `pgbouncer.log` |
//! | `tally/<namespace>/<application>/` | what each run of each pod of an application counted |
//! | `controllers/<namespace>/` | a controller's own directory, with the log of each of its pods |
//! | `eso/<namespace>/` | an operator's own directory, with `operator.log` |
//! | `reloader/<namespace>/` | the log of each Reloader of a namespace |
//! | `argo/<namespace>/` | the same of Argo Rollouts, with `controller.log` |
//! | `bin/<build>/` | programs of ours that pods run |
//!
//! What is expensive is made once for each user and kept in the cache directory: the Go programs, for each content of
//! their modules, and the PostgreSQL versions that Debian does not have.

mod argo;
mod audit;
mod binary;
mod cgroups;
mod consumer;
mod controller;
mod eso;
mod finalizers;
mod home;
mod host;
mod join;
mod lab;
mod link;
mod namespace;
mod node;
mod pgbouncer;
mod pods;
mod poll;
mod postgres;
mod process;
mod progress;
mod random;
mod reloader;
mod run;
mod supervise;
mod tally;

pub mod aws;
pub mod cli;

pub use argo::ArgoRollouts;
pub use audit::{Audit, Request};
pub use aws::Aws;
pub use binary::controller as controller_binary;
pub use consumer::{Consumer, ConsumerOptions, Kind, Source};
pub use controller::{Controller, ControllerOptions};
pub use eso::{AWS_KEYS_SECRET, Eso, EsoOptions, Synced};
pub use home::{DIRECTORY_VARIABLE, Home};
pub use lab::Lab;
pub use link::Link;
pub use namespace::Namespace;
pub use pgbouncer::{CONSOLE_SECRET, KnownBy, PgBouncer, PgBouncerOptions, PoolMode, USERLIST_SECRET};
pub use pods::Mount;
pub use poll::eventually;
pub use postgres::{
    ADMIN_SECRET, CA_CONFIG_MAP, CREDENTIALS_SECRET, Login, Pair, Postgres, PostgresOptions, Servers, Stage,
    Stop,
};
pub use reloader::{Reloader, ReloaderDouble, ReloaderOptions};
pub use run::{run, within};
pub use supervise::{Depth, supervise};
pub use tally::{Count, Doing, Failure, Tally};
