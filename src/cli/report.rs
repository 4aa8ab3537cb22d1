//! `autotune report`: the page of a study.

use std::path::{Path, PathBuf};

use super::args::ReportArgs;
use super::database::{expected, open_for_reading};
use super::exit::Exit;
use super::printer::Printer;
use super::trials::report_error;
use crate::report;

/// Writes the page, and prints where.
///
/// # Errors
/// There is no database or no such study, or the file cannot be written.
pub fn run(args: &ReportArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let store = open_for_reading(&args.store)?;
    let study = store.study(args.study.as_deref()).map_err(expected)?;
    let out: PathBuf =
        args.out.clone().unwrap_or_else(|| report::default_path(Path::new("reports"), &study.name));
    report::write(&store, study.id, &out).map_err(report_error)?;
    printer.data(&out.display().to_string());
    Ok(Exit::Success)
}
