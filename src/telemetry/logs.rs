//! Structured logs.

use std::fmt;

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;

/// Shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "json",
            Self::Text => "text",
        })
    }
}

/// Starts logging to standard error.
///
/// Only `tracing` is listened to. The database driver speaks through the `log` crate, and at its debug level repeats
/// every statement; no bridge between the two is installed, so nothing it says can reach a log at any level.
///
/// # Errors
/// When the filter cannot be read or logging was started before.
pub fn start(filter: &str, format: Format) -> anyhow::Result<()> {
    let filter: EnvFilter = filter
        .parse()
        .with_context(|| format!("{filter:?} is no log filter; try info or tandem=debug"))?;
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        Format::Json => {
            let layer = tracing_subscriber::fmt::layer()
                .json()
                .flatten_event(true)
                .with_writer(std::io::stderr);
            tracing::subscriber::set_global_default(registry.with(layer))
        }
        Format::Text => {
            let layer = tracing_subscriber::fmt::layer()
                .with_ansi(false)
                .with_writer(std::io::stderr);
            tracing::subscriber::set_global_default(registry.with(layer))
        }
    };
    started.context("logging was started twice")
}
