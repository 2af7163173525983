//! Structured logs.

use std::fmt;

use anyhow::Context as _;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;

/// Whose words are let through below level info. The AWS SDK writes down its requests at level trace, and whole answers
/// when a variable of its own asks for it; nobody else is trusted there.
const FRANK: [&str; 2] = ["tandem", "kube"];

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
/// # Errors
/// When the filter cannot be read or logging was started before.
pub fn start(filter: &str, format: Format) -> anyhow::Result<()> {
    let subscriber = subscriber(filter, format, std::io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).context("logging was started twice")
}

/// What takes in all that is said, and writes what the filter lets through.
///
/// Only `tracing` is listened to. The database driver speaks through the `log` crate, and at its debug level repeats
/// every statement; no bridge between the two is installed, so nothing it says can reach a log at any level.
///
/// # Errors
/// When the filter cannot be read.
pub fn subscriber<W>(
    filter: &str,
    format: Format,
    writer: W,
) -> anyhow::Result<Box<dyn Subscriber + Send + Sync>>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter: EnvFilter = filter
        .parse()
        .with_context(|| format!("{filter:?} is no log filter; try info or tandem=debug"))?;
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    // Two filters, since no directive of the first can widen the second.
    let registry = tracing_subscriber::registry()
        .with(filter)
        .with(filter_fn(discreet));
    Ok(match format {
        Format::Json => Box::new(registry.with(layer.json().flatten_event(true))),
        Format::Text => Box::new(registry.with(layer.with_ansi(false))),
    })
}

fn discreet(what: &Metadata<'_>) -> bool {
    *what.level() <= Level::INFO || FRANK.iter().any(|who| what.target().starts_with(who))
}
