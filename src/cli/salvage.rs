//! `autotune salvage`: what can still be read of a damaged database, into a new one.

use super::args::SalvageArgs;
use super::database::expected;
use super::printer::Printer;
use crate::exit::{Exit, Expected};
use crate::report::{Align, table};
use crate::store::salvage;

/// Copies all readable rows; the damaged file is left as it is.
///
/// # Errors
/// The source cannot be opened, the target exists, or the disk refuses.
pub fn run(args: &SalvageArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let out = args.out.clone().unwrap_or_else(|| args.database.with_extension("salvaged.db"));
    if out.exists() {
        let text = format!("{} exists already; name another file with --out", out.display());
        return Err(Expected::usage(text).into());
    }
    let saved = salvage(&args.database, &out).map_err(expected)?;
    if args.json {
        printer.data(&serde_json::to_string_pretty(&serde_json::json!({ "out": out, "tables": saved }))?);
        return Ok(Exit::Success);
    }
    let head = [
        ("table", Align::Left),
        ("rows saved", Align::Right),
        ("lost", Align::Right),
        ("remark", Align::Left),
    ];
    let rows: Vec<Vec<String>> = saved
        .iter()
        .map(|t| {
            let lost = t.lost.map_or("?".to_owned(), |n| n.to_string());
            vec![t.table.to_owned(), t.saved.to_string(), lost, t.remark.clone().unwrap_or_default()]
        })
        .collect();
    for line in table(&head, &rows) {
        printer.data(&line);
    }
    printer.data(&out.display().to_string());
    printer.remark("to work with it: make a new folder, move it there as autotune.db, and name the folder with --results");
    Ok(Exit::Success)
}
