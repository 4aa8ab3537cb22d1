//! `autotune completions`: for the shell that asks.

use clap::CommandFactory;

use super::args::Cli;
use super::printer::Printer;
use crate::exit::Exit;

/// Prints the completion script of a shell.
///
/// # Errors
/// None; the signature is that of every command.
pub fn run(shell: clap_complete::Shell, printer: &mut Printer) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "autotune", &mut script);
    printer.data(String::from_utf8_lossy(&script).trim_end());
    Ok(Exit::Success)
}
