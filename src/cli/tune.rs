//! `autotune tune` and `autotune resume`: starts or resumes a study, runs it, and prints its answer.

use crate::metric::names;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use super::args::{ResumeArgs, TuneArgs};
use super::interrupt::Interrupt;
use super::live::Ends;
use super::printer::Printer;
use super::progress::Progress;
use super::settings;
use crate::exit::{Exit, Expected};
use crate::report;
use crate::store::TrialState;
use crate::study::StudyEnd;
use crate::tuner::begin::Begun;
use crate::tuner::commands;
use crate::tuner::graders::Graders;
use crate::tuner::resume::{self, Resume};
use crate::tuner::run::Run;

/// Begins a study.
///
/// # Errors
/// Wrong flags, a wrong model, a budget that nothing meets, a broken disk or database.
pub fn tune(args: &TuneArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let (begun, graders) = Begun::new(settings::resolve(args, printer)?, &args.store.results, printer)?;
    go(&begun.run(), graders, args.json, printer)
}

/// Continues a study.
///
/// # Errors
/// No such study, inputs that differ from those it was started with, or as for [`tune`].
pub fn resume(args: &ResumeArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let time = args.time.as_deref().map(|time| settings::duration("--time", time)).transpose()?;
    let asked = Resume {
        results: args.store.results.clone(),
        study: args.study.clone(),
        time_s: time.map(|time| time.as_secs()),
        trials: args.trials,
        reports: args.reports.clone(),
        sandbox: args.sandbox.map(Into::into),
        new_segment: args.new_segment,
    };
    let (begun, graders) = resume::resume(&asked, printer)?;
    go(&begun.run(), graders, args.json, printer)
}

/// Runs a study under the eyes of the user.
fn go(run: &Run<'_>, graders: Graders, json: bool, printer: &mut Printer) -> anyhow::Result<Exit> {
    let interrupt = Interrupt::listen().context("failed to listen for Ctrl-C")?;
    let cancelled = || interrupt.is_set();
    let ends = Ends { time: run.settings.time_s.map(Duration::from_secs), trials: run.settings.trials };
    let mut progress = Progress::new(printer, json, ends);
    progress.log_to(run.store, run.record.id);
    progress.say(&format!("model: {}", run.kit.describe()));
    let end = run.go(graders, &cancelled, &|| interrupt.reason().to_owned(), &mut progress);
    progress.finish();
    drop(progress);
    conclude(run, &end?, json, &run.report_path(), printer)?;
    exit(run, cancelled())
}

/// Prints the front, where the report is, and how to go on.
fn conclude(
    run: &Run<'_>,
    end: &StudyEnd,
    json: bool,
    report: &Path,
    printer: &mut Printer,
) -> anyhow::Result<()> {
    let summary = report::front_rows(run.store, run.record.id)?;
    if json {
        printer.data(&serde_json::to_string(&summary)?);
    } else {
        for line in summary.lines() {
            printer.data(&line);
        }
    }
    printer.remark(&format!("report: {}", report.display()));
    let more = match (end, run.settings.trials) {
        (StudyEnd::Finished(_), Some(trials)) => {
            // A limit below what is there already would do nothing.
            format!("--trials {}", trials.max(summary.trials).saturating_mul(2))
        }
        _ => "--time 10m".to_owned(),
    };
    let resume = commands::resume(run.record.root, run.results, Some(&more));
    printer.remark(&format!("continue: {resume}"));
    Ok(())
}

/// The exit code of a study that ended.
fn exit(run: &Run<'_>, interrupted: bool) -> anyhow::Result<Exit> {
    if interrupted {
        return Ok(Exit::Interrupted);
    }
    let trials = run.store.trials(run.record.id)?;
    let any = |state| trials.iter().any(|t| t.state == state);
    if any(TrialState::Complete) {
        return Ok(Exit::Success);
    }
    if !trials.is_empty() && trials.iter().all(|t| t.state == TrialState::Infeasible) {
        let peak = |t: &crate::store::TrialRecord| {
            t.value(names::PEAK_MEMORY_BYTES).or_else(|| t.value(names::PREDICTED_PEAK_MEMORY_BYTES))
        };
        let least = trials.iter().filter_map(peak).fold(f64::INFINITY, f64::min);
        let text = format!(
            "no trial stayed within the budget of {}; the smallest needed {}",
            crate::units::Bytes(run.settings.budget_bytes),
            crate::units::Bytes(least as u64)
        );
        return Err(Expected { exit: Exit::Infeasible, text }.into());
    }
    if any(TrialState::Failed) {
        let text = "no trial completed; `autotune trials` shows why each failed".to_owned();
        return Err(Expected { exit: Exit::NoResult, text }.into());
    }
    Ok(Exit::Success)
}
