//! `autotune studies`: what the database holds.

use super::args::ListArgs;
use super::database::{expected, open_for_reading};
use super::printer::Printer;
use crate::exit::Exit;
use crate::report::{Align, one_line, study_json, table};
use crate::units::Bytes;

/// Lists the studies, oldest first.
///
/// # Errors
/// There is no database, or it cannot be read.
pub fn run(args: &ListArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let studies = open_for_reading(&args.store)?.studies().map_err(expected)?;
    if args.json {
        let list: Vec<_> = studies.iter().map(study_json).collect();
        printer.data(&serde_json::to_string_pretty(&list)?);
        return Ok(Exit::Success);
    }
    if studies.is_empty() {
        printer.remark("no study yet; `autotune --budget 8GB` starts one");
        return Ok(Exit::Success);
    }
    let head = [
        ("study", Align::Right),
        ("name", Align::Left),
        ("state", Align::Left),
        ("trials", Align::Right),
        ("complete", Align::Right),
        ("budget", Align::Right),
        ("engine", Align::Left),
        ("started (UTC)", Align::Left),
        ("model", Align::Left),
    ];
    let rows: Vec<Vec<String>> = studies
        .iter()
        .map(|s| {
            let complete = s.trials.get(&crate::store::TrialState::Complete).copied().unwrap_or(0);
            vec![
                match s.segments.len() {
                    0 | 1 => s.root.0.to_string(),
                    _ => format!("{} (segment {})", s.root.0, s.segment),
                },
                one_line(&s.name, 40),
                s.state.to_string(),
                s.trial_count().to_string(),
                complete.to_string(),
                Bytes(s.budget_bytes).to_string(),
                s.engine.clone(),
                s.created.strftime("%Y-%m-%d %H:%M").to_string(),
                one_line(&s.model_path, 60),
            ]
        })
        .collect();
    for line in table(&head, &rows) {
        printer.data(&line);
    }
    Ok(Exit::Success)
}
