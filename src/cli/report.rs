//! `autotune report`: the page of a study, its figures, or its numbers; once, or for as long as the study runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use super::args::{ReportArgs, ReportFormat};
use super::database::{expected, open_for_reading};
use super::interrupt::Interrupt;
use super::printer::Printer;
use super::trials::report_error;
use crate::exit::{Exit, Expected};
use crate::report;
use crate::report::{Analysis, Live, Overlay, ReportError};
use crate::store::{Store, StudyRecord, StudyState};

/// How often a watched study is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often a watched page loads itself again, in seconds.
const REFRESH_S: u32 = 5;

/// Writes the report, and prints its path.
///
/// # Errors
/// There is no database or no such study, or the file cannot be written.
pub fn run(args: &ReportArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    if args.format != ReportFormat::Html && (args.watch || !args.overlay.is_empty()) {
        return Err(Expected::usage("--watch and --overlay go with --format html alone").into());
    }
    let store = open_for_reading(&args.store)?;
    let study = store.study(args.study.as_deref()).map_err(expected)?;
    match args.format {
        ReportFormat::Html if args.watch => watch(&store, &study, args, printer),
        ReportFormat::Html => {
            let out = page(&store, &study, args, Live::No)?;
            printer.data(&out.display().to_string());
            Ok(Exit::Success)
        }
        _ => other(&store, &study, args, printer),
    }
}

fn default_out(study: &StudyRecord, extension: &str) -> PathBuf {
    report::default_path(Path::new("reports"), &study.name).with_extension(extension)
}

/// Writes the page; returns where.
fn page(store: &Store, study: &StudyRecord, args: &ReportArgs, live: Live) -> anyhow::Result<PathBuf> {
    let out = args.out.clone().unwrap_or_else(|| report::default_path(Path::new("reports"), &study.name));
    let analysis = Analysis::load_in_depth(store, study.id).map_err(report_error)?;
    let overlays = overlays(store, &analysis, args)?;
    let html = report::render(&analysis, &overlays, live).map_err(report_error)?;
    write(&out, html.as_bytes())?;
    Ok(out)
}

/// The studies that were named; without any, the earlier ones of the same model.
fn overlays(store: &Store, analysis: &Analysis, args: &ReportArgs) -> anyhow::Result<Vec<Overlay>> {
    if args.overlay.is_empty() {
        return Overlay::earlier(store, analysis).map_err(report_error);
    }
    let mut overlays = Vec::new();
    for name in &args.overlay {
        // A name of a study, or the file of another database, whose newest study it then is.
        let file = Path::new(name);
        let other = match file.is_file() {
            true => {
                let elsewhere = Store::open_existing(file).map_err(expected)?;
                let study = elsewhere.study(None).map_err(expected)?;
                Analysis::load(&elsewhere, study.id)
            }
            false => Analysis::load(store, store.study(Some(name)).map_err(expected)?.id),
        };
        overlays.push(Overlay::named(other.map_err(report_error)?, analysis));
    }
    Ok(overlays)
}

fn write(out: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    report::replace_file(out, bytes)
        .map_err(|source| report_error(ReportError::Write { path: out.to_owned(), source }))
}

/// Writes the page again after every change, until the study no longer runs or the user has seen enough.
fn watch(
    store: &Store,
    study: &StudyRecord,
    args: &ReportArgs,
    printer: &mut Printer,
) -> anyhow::Result<Exit> {
    let interrupt = Interrupt::listen().context("failed to listen for Ctrl-C")?;
    let mut seen = None;
    let mut told = false;
    loop {
        let now = store.study_by_id(study.id).map_err(expected)?;
        let running = now.state == StudyState::Running && !interrupt.is_set();
        let state = (now.trials.clone(), now.state);
        if seen.as_ref() != Some(&state) || !running {
            let live = if running { Live::EverySeconds(REFRESH_S) } else { Live::No };
            let out = page(store, &now, args, live)?;
            if !told {
                printer.data(&out.display().to_string());
                told = true;
            }
            printer.remark(&format!("{} trials, study {}", now.trial_count(), now.state));
            seen = Some(state);
        }
        if !running {
            return Ok(Exit::Success);
        }
        std::thread::sleep(LOOK);
    }
}

fn other(
    store: &Store,
    study: &StudyRecord,
    args: &ReportArgs,
    printer: &mut Printer,
) -> anyhow::Result<Exit> {
    let analysis = Analysis::load(store, study.id).map_err(report_error)?;
    let (x, y) = (args.x.as_deref(), args.y.as_deref());
    let text = match args.format {
        ReportFormat::Json => serde_json::to_string_pretty(&report::trials_json(&analysis))? + "\n",
        ReportFormat::Csv => report::trials_csv(&analysis),
        ReportFormat::Md => report::markdown(&analysis),
        ReportFormat::Svg | ReportFormat::Html | ReportFormat::Png => {
            let (extension, bytes) = match args.format {
                ReportFormat::Png => ("png", report::figure_png(&analysis, x, y).map_err(refused)?),
                _ => ("svg", report::figure_svg(&analysis, x, y).map_err(refused)?.into_bytes()),
            };
            let out = args.out.clone().unwrap_or_else(|| default_out(study, extension));
            write(&out, &bytes)?;
            printer.data(&out.display().to_string());
            return Ok(Exit::Success);
        }
    };
    match &args.out {
        Some(out) => {
            write(out, text.as_bytes())?;
            printer.data(&out.display().to_string());
        }
        None => text
            .lines()
            .take_while(|_| !printer.is_closed())
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|l| printer.data(l)),
    }
    Ok(Exit::Success)
}

/// A figure that cannot be drawn is what the user asked for or the machine's fonts, not a bug.
fn refused(error: ReportError) -> anyhow::Error {
    match error {
        ReportError::Figure(why) => Expected::usage(format!("a figure cannot be drawn: {why}")).into(),
        other => report_error(other),
    }
}
