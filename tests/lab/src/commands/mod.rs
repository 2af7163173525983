//! The subcommands, one module each.

pub(crate) mod consumer;
pub(crate) mod demo;
pub(crate) mod down;
pub(crate) mod exec;
pub(crate) mod kubectl;
pub(crate) mod supervise;
pub(crate) mod up;
