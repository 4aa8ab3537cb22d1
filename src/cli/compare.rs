//! `autotune compare`: two studies side by side.

use super::args::CompareArgs;
use super::database::{expected, open_for_reading};
use super::printer::Printer;
use super::trials::report_error;
use crate::exit::{Exit, Expected};
use crate::report::{Analysis, compare_studies};

/// Prints both fronts, their hypervolumes, and who dominates whom.
///
/// # Errors
/// There is no database or no such study, or the two share no objective.
pub fn run(args: &CompareArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let store = open_for_reading(&args.store)?;
    let mut sides = Vec::new();
    for name in [&args.first, &args.second] {
        let study = store.study(Some(name)).map_err(expected)?;
        sides.push(Analysis::load(&store, study.id).map_err(report_error)?);
    }
    let comparison = compare_studies(&sides[0], &sides[1]).ok_or_else(|| {
        Expected::usage(format!("the studies {} and {} have no objective in common", args.first, args.second))
    })?;
    if args.json {
        printer.data(&serde_json::to_string_pretty(&comparison)?);
        return Ok(Exit::Success);
    }
    for doubt in &comparison.doubts {
        printer.warn(doubt);
    }
    for line in comparison.lines() {
        printer.data(&line);
    }
    Ok(Exit::Success)
}
