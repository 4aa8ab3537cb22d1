//! What the user types and what is printed: arguments, one file per command, the printer, the exit codes.

pub mod args;
pub mod exit;
pub mod printer;
mod score_codebleu;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command, ScoreCommand};
use exit::{Exit, Expected};
use printer::Printer;

/// Parses, runs the command, prints what went wrong, and tells the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap prints help to stdout and errors to stderr by itself; a closed pipe is no failure.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Success.into() };
        }
    };
    let mut printer = Printer::new(cli.quiet);
    match run(cli, &mut printer) {
        Ok(exit) => exit.into(),
        Err(error) => {
            printer.error(&format!("{error:#}"));
            error.downcast_ref::<Expected>().map_or(Exit::Failure, |e| e.exit).into()
        }
    }
}

fn run(cli: Cli, printer: &mut Printer) -> anyhow::Result<Exit> {
    match cli.command.unwrap_or(Command::Tune(Box::new(cli.tune))) {
        Command::Score(ScoreCommand::Codebleu(args)) => score_codebleu::run(&args, printer),
        Command::Tune(_)
        | Command::Resume(_)
        | Command::Probe(_)
        | Command::Plan(_)
        | Command::Studies(_)
        | Command::Trials(_)
        | Command::Report(_)
        | Command::Export(_)
        | Command::Score(_)
        | Command::Simulate(_)
        | Command::Completions { .. }
        | Command::Worker => Err(Expected::environment("not built yet").into()),
    }
}
