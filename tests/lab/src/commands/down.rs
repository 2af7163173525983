//! `lab down`

use anyhow::Result;

/// Stops the lab.
pub(crate) fn run() -> Result<()> {
    let stopped = tandem_lab::cli::stop()?;
    eprintln!(
        "{}",
        if stopped {
            "The lab is gone."
        } else {
            "No lab was running."
        }
    );
    Ok(())
}
