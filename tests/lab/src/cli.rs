//! What the `lab` binary's commands do.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::home::Home;
use crate::join::{Membership, enter, join, keep_through_exec};
use crate::lab;

/// A lab that this process keeps running.
pub struct Kept {
    membership: Membership,
}

/// Joins the lab, starting it when needed.
///
/// # Errors
/// When the machine cannot serve.
pub fn keep() -> Result<Kept> {
    Ok(Kept { membership: join()? })
}

impl Kept {
    /// Where it is.
    #[must_use]
    pub fn home(&self) -> &Home {
        &self.membership.home
    }

    /// Becomes the given command, inside the lab's network and with `KUBECONFIG` set.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn execute(&self, program: &OsString, arguments: &[OsString]) -> Result<()> {
        self.become_inside(Command::new(program).args(arguments))
    }

    /// Becomes `kubectl` as administrator.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn kubectl(&self, arguments: &[OsString]) -> Result<()> {
        self.become_inside(lab::kubectl(&self.membership).args(arguments))
    }

    fn become_inside(&self, command: &mut Command) -> Result<()> {
        enter(&self.membership)?;
        keep_through_exec()?;
        let error = command
            .env("KUBECONFIG", self.membership.home.kubeconfig())
            .exec();
        Err(error).with_context(|| format!("cannot run {}", command.get_program().display()))
    }
}

/// Builds what only some tests need.
///
/// # Errors
/// With what the compiler said.
pub fn build_ahead() -> Result<()> {
    crate::host::programs::build_ahead()
}

/// Stops the lab, whoever uses it, and says whether there was one.
///
/// # Errors
/// When it does not stop.
pub fn stop() -> Result<bool> {
    crate::join::stop(&Home::of_environment()?)
}
