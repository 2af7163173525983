//! The controller's program.

use std::process::ExitCode;

use clap::Parser as _;
use tandem::args::Args;

fn main() -> ExitCode {
    // One provider for all of TLS, chosen here and nowhere else.
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        return ExitCode::FAILURE;
    }
    match Args::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tandem: {error:#}");
            ExitCode::FAILURE
        }
    }
}
