//! `lab`: the lab by hand, and every program of ours that runs inside it.

mod commands;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A real Kubernetes on this machine, in a network of its own.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Rotate by hand and with Tandem, under load, and count the failed logins
    Demo(commands::demo::Arguments),
    /// Start the lab, or join a running one, and keep it until Ctrl-C
    Up,
    /// Stop the lab, whoever uses it
    Down,
    /// Run a program inside the lab's network
    Exec(commands::exec::Arguments),
    /// Run kubectl as the lab's administrator
    Kubectl(commands::kubectl::Arguments),
    /// Behave like an application with a database, and count what goes wrong (runs in the lab's pods)
    #[command(hide = true)]
    Consumer(Box<commands::consumer::Arguments>),
    /// Build what only some tests need (the lab runs this by itself)
    #[command(hide = true)]
    BuildAhead,
    #[command(hide = true)]
    Supervise(commands::supervise::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse_from(words()).command {
        Command::Demo(arguments) => match commands::demo::run(&arguments) {
            Ok(true) => Ok(()),
            Ok(false) => return ExitCode::FAILURE,
            Err(error) => Err(error),
        },
        Command::Up => commands::up::run(),
        Command::Down => commands::down::run(),
        Command::Exec(arguments) => commands::exec::run(&arguments),
        Command::Kubectl(arguments) => commands::kubectl::run(&arguments),
        Command::Consumer(arguments) => commands::consumer::run(*arguments),
        Command::BuildAhead => tandem_lab::cli::build_ahead(),
        Command::Supervise(arguments) => commands::supervise::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What was typed. People write `cargo demo -- --delivery …`, as with `cargo run`; the alias has separated cargo's
/// arguments from the program's already, and the second `--` would end the flags.
fn words() -> Vec<OsString> {
    let mut words: Vec<_> = std::env::args_os().collect();
    let is = |at: usize, text: &str| words.get(at).is_some_and(|word| word == text);
    if is(1, "demo") && is(2, "--") {
        words.remove(2);
    }
    words
}
