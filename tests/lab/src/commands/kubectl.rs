//! `lab kubectl`

use std::ffi::OsString;

use anyhow::Result;

#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Arguments {
    /// kubectl's own arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Becomes kubectl, inside.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    tandem_lab::cli::keep()?.kubectl(&arguments.arguments)
}
