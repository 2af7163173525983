//! `lab supervise`, which the lab itself runs

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;
use tandem_lab::{Home, Stage};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How far inside the lab this process is
    #[arg(long)]
    stage: Where,
    /// The lab's directory
    dir: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Where {
    Outer,
    First,
    Node,
}

/// Runs one of the lab's own processes.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let stage = match arguments.stage {
        Where::Outer => Stage::Outer,
        Where::First => Stage::First,
        Where::Node => Stage::Node,
    };
    tandem_lab::supervise(&Home::at(arguments.dir.clone())?, stage)
}
