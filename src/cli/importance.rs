//! `autotune importance`: which parameters moved each objective, by the fitted surrogate.

use serde_json::json;

use super::args::ImportanceArgs;
use super::database::{expected, open_for_reading};
use super::printer::Printer;
use crate::exit::{Exit, Expected};
use crate::report::{Align, Metric, table};
use crate::study::estimates::Known;
use crate::study::{Importance, importance};

/// Prints first-order and total Sobol indices.
///
/// # Errors
/// There is no database or no such study, or too little of it is complete.
pub fn run(args: &ImportanceArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let store = open_for_reading(&args.store)?;
    let study = store.study(args.study.as_deref()).map_err(expected)?;
    let trials = store.trials(study.id).map_err(expected)?;
    let known = Known::load(&store, study.id).map_err(expected)?;
    let Some(found) = importance(&study, &trials, &known)? else {
        let text = format!(
            "study {} has too few complete trials to estimate parameter importance; `{}` continues it",
            study.name,
            crate::tuner::commands::resume(study.root, &args.store.results, None)
        );
        return Err(Expected { exit: Exit::NoResult, text }.into());
    };
    if args.json {
        printer.data(&json!({ "study": study.name, "importance": found }).to_string());
        return Ok(Exit::Success);
    }
    for line in human(&found) {
        printer.data(&line);
    }
    printer.remark(&format!(
        "shares of each objective's variance over the whole space, by a model of {} complete trials: alone (total, with interactions)",
        found.trials
    ));
    Ok(Exit::Success)
}

fn human(found: &Importance) -> Vec<String> {
    let names: Vec<String> = found.objectives.iter().map(|o| Metric::of(&o.metric).short).collect();
    let mut head = vec![("parameter", Align::Left)];
    head.extend(names.iter().map(|n| (n.as_str(), Align::Right)));
    let percent = |x: f64| format!("{:.0}", 100.0 * x);
    let rows: Vec<Vec<String>> = found
        .by_weight()
        .into_iter()
        .map(|name| {
            let cell = |o: &crate::study::ObjectiveImportance| {
                let p = o.parameters.iter().find(|p| p.name == name);
                p.map_or_else(String::new, |p| format!("{} % ({} %)", percent(p.first), percent(p.total)))
            };
            std::iter::once(name.to_owned()).chain(found.objectives.iter().map(cell)).collect()
        })
        .collect();
    table(&head, &rows)
}
