//! `lab supervise`, which the lab itself runs

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;
use tandem_lab::{Depth, Home};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How far inside the lab this process is
    #[arg(long)]
    depth: Where,
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
    let depth = match arguments.depth {
        Where::Outer => Depth::Outer,
        Where::First => Depth::First,
        Where::Node => Depth::Node,
    };
    tandem_lab::supervise(&Home::at(arguments.dir.clone())?, depth)
}
