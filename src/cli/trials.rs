//! `autotune trials`: every trial of a study, for people and for programs.

use super::args::TrialsArgs;
use super::database::{expected, open_for_reading};
use super::printer::Printer;
use crate::exit::Exit;
use crate::report::OfTrial as _;
use crate::report::{
    Align, Analysis, RELATIVE_HEAD, Reading, ReportError, one_line, table, titles, trials_csv, trials_json,
};

/// Lists the trials by number.
///
/// # Errors
/// There is no database or no such study, or it cannot be read.
pub fn run(args: &TrialsArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let store = open_for_reading(&args.store)?;
    let study = store.study(args.study.as_deref()).map_err(expected)?;
    let analysis = Analysis::load(&store, study.id).map_err(report_error)?;
    if study.segments.len() > 1 {
        printer.remark(&format!(
            "study {0} has {1} segments, whose trials are not comparable; this is segment {2} (`autotune trials {0}.N` lists another)",
            study.root.0,
            study.segments.len(),
            study.segment
        ));
    }
    if args.json {
        printer.data(&serde_json::to_string_pretty(&trials_json(&analysis))?);
        return Ok(Exit::Success);
    }
    let lines = if args.csv {
        trials_csv(&analysis).split_terminator('\n').map(str::to_owned).collect()
    } else if analysis.trials.is_empty() {
        printer.remark(&format!("study {} has no trial yet", study.name));
        Vec::new()
    } else {
        human(&analysis)
    };
    for line in lines {
        if printer.is_closed() {
            break;
        }
        printer.data(&line);
    }
    Ok(Exit::Success)
}

fn human(analysis: &Analysis) -> Vec<String> {
    let mut head = vec![("trial", Align::Right), ("state", Align::Left), ("rung", Align::Left)];
    head.extend(analysis.columns.iter().map(|m| (m.short.as_str(), Align::Right)));
    let relative = !analysis.relative.is_empty();
    head.extend(relative.then_some((RELATIVE_HEAD, Align::Right)));
    head.extend([("", Align::Left), ("configuration", Align::Left), ("remark", Align::Left)]);
    let rows: Vec<Vec<String>> = analysis
        .trials
        .iter()
        .map(|trial| {
            let mut row = vec![
                trial.number.to_string(),
                trial.state.to_string(),
                trial.rung.map_or("–", |r| r.name()).to_owned(),
            ];
            row.extend(
                analysis
                    .columns
                    .iter()
                    .map(|m| Reading::of(trial, &m.name).map_or_else(|| "–".into(), |r| m.show(r.value))),
            );
            row.extend(relative.then(|| analysis.relative.cell(trial.number)));
            let on_front = analysis.recommendation.front.contains(&trial.number);
            row.push(if on_front { "*" } else { "" }.to_owned());
            row.push(match trial.origin.preset_name() {
                Some(preset) => format!("{preset} (preset)"),
                None => analysis.shortener.short(&trial.candidate),
            });
            row.push(match &trial.failure {
                Some(failure) => one_line(&format!("{}: {}", failure.kind, failure.text), 80),
                None => titles(analysis.titles(trial.number)),
            });
            row
        })
        .collect();
    table(&head, &rows)
}

/// A report's error with its exit code.
pub(super) fn report_error(error: ReportError) -> anyhow::Error {
    match error {
        ReportError::Store(error) => expected(error),
        write @ ReportError::Write { .. } => crate::exit::Expected::environment(write.to_string()).into(),
        other => other.into(),
    }
}
