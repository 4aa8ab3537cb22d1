//! `autotune man`: the manual, from the same words as `--help`.

use clap::CommandFactory;

use super::args::{Cli, ManArgs};
use super::printer::Printer;
use crate::exit::{Exit, Expected};

/// Prints the page of the program, or writes a page for it and for each command.
///
/// # Errors
/// The folder cannot be written.
pub fn run(args: &ManArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let Some(folder) = &args.to else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page)?;
        printer.data(String::from_utf8_lossy(&page).trim_end());
        return Ok(Exit::Success);
    };
    let refused = |e| Expected::environment(format!("failed to write {}: {e}", folder.display()));
    std::fs::create_dir_all(folder).map_err(refused)?;
    clap_mangen::generate_to(Cli::command(), folder).map_err(refused)?;
    printer.data(&folder.display().to_string());
    Ok(Exit::Success)
}
