//! `autotune evaluate`: scores the candidates that another program asks for, so that any optimiser can drive the same evaluation.
//!
//! JSON lines both ways. First the space and the objectives are printed; then every line read is a candidate, and is answered by what was
//! measured of it, or `{"fits": candidate}`, which is answered from predictions alone, with the place in the space of one outside it (a
//! preset). A wrong line is answered by `{"error": ...}`.

use std::io::BufRead;

use anyhow::Context;
use serde_json::{Value, json};

use super::args::TuneArgs;
use super::interrupt::Interrupt;
use super::live::Ends;
use super::printer::Printer;
use super::progress::Progress;
use super::settings;
use crate::exit::Exit;
use crate::quality::proof::Summary;
use crate::report;
use crate::space::{Candidate, Config, ParamKind};
use crate::store::{Direction, Objective, StudyState, TrialRecord};
use crate::study::{Observer, Stopped, Study, TaskGrading};
use crate::tuner::begin::Begun;
use crate::tuner::run::Run;
use crate::worker::fault::told;

/// Runs the command.
///
/// # Errors
/// As for `tune`; what is wrong with one line is answered on its own.
pub fn run(args: &TuneArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let (begun, graders) = Begun::new(settings::resolve(args, printer)?, &args.store.results, printer)?;
    let run = Run { searches: false, ..begun.run() };
    let id = run.record.id;
    let interrupt = Interrupt::listen().context("failed to listen for Ctrl-C")?;
    let cancelled = || interrupt.is_set();
    run.store.set_study_state(id, StudyState::Running, None)?;
    let mut progress = Progress::new(printer, false, Ends::default());
    progress.log_to(run.store, id);
    for text in graders.left_out {
        progress.say(&text);
    }
    let checked = graders.checked;
    let objectives: Vec<Objective> = serde_json::from_str(&run.record.objectives_json)?;
    let outcome =
        run.with_study(graders.grading, &cancelled, &mut progress, &mut |study, grading, progress| {
            progress.data(&about(&run, &objectives, checked.as_ref()).to_string());
            for line in std::io::stdin().lock().lines() {
                let line = line.context("failed to read a candidate")?;
                if line.trim().is_empty() {
                    continue;
                }
                let answer = match answer(study, grading, progress, &objectives, &line) {
                    Err(error) if error.is::<Wrong>() => json!({ "error": told(&error) }),
                    other => other?,
                };
                progress.data(&answer.to_string());
            }
            Ok(())
        });
    progress.finish();
    let stopped = matches!(&outcome, Err(error) if error.is::<Stopped>());
    let reason = if stopped { "stopped by the user" } else { "its candidates were given by another program" };
    run.store.set_study_state(id, StudyState::Paused, Some(reason))?;
    if !stopped {
        outcome?;
    }
    drop(progress);
    report::write(run.store, id, &run.report_path())?;
    Ok(if stopped { Exit::Interrupted } else { Exit::Success })
}

/// A line that is no candidate.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Wrong(String);

fn about(run: &Run<'_>, objectives: &[Objective], tasks: Option<&Summary>) -> Value {
    let params = run.space.params.iter().map(|p| {
        json!({
            "name": p.name,
            "kind": if p.kind == ParamKind::Ordinal { "ordinal" } else { "categorical" },
            "levels": p.levels,
        })
    });
    let objectives = objectives.iter().map(|o| {
        json!({
            "metric": o.metric,
            "direction": if o.direction == Direction::Min { "min" } else { "max" },
            "bound": o.bound,
        })
    });
    json!({
        "study": run.record.root,
        "space": params.collect::<Vec<_>>(),
        "objectives": objectives.collect::<Vec<_>>(),
        "budget_bytes": run.settings.budget_bytes,
        "tasks": tasks,
    })
}

fn answer(
    study: &Study<'_>,
    grading: &mut TaskGrading<'static>,
    observer: &mut dyn Observer,
    objectives: &[Objective],
    line: &str,
) -> anyhow::Result<Value> {
    let asked: Value =
        serde_json::from_str(line).map_err(|e| Wrong(format!("the line is not valid JSON: {e}")))?;
    let (asked, only_fits) = match asked.get("fits") {
        Some(candidate) => (candidate.clone(), true),
        None => (asked, false),
    };
    let candidate: Candidate = serde_json::from_value(asked).map_err(|e| {
        Wrong(format!("the line is not a candidate (an object of parameters and levels): {e}"))
    })?;
    let config = Config::from_candidate(&candidate).map_err(|e| Wrong(e.to_string()))?;
    if only_fits {
        let foreseen = study.problem.foresee(&config);
        return Ok(json!({
            "fits": foreseen.is_some_and(|f| f.peak_bytes <= study.cx.settings.budget_bytes),
            "predicted_peak_memory_bytes": foreseen.map(|f| f.peak_bytes),
            "predicted_latency_ms": foreseen.map(|f| f.latency_ms),
            "assumed_kl": foreseen.and_then(|f| f.divergence),
            "place": study.problem.place(&candidate),
        }));
    }
    Ok(told_of(&study.evaluate(&candidate, grading, observer)?, objectives))
}

fn told_of(trial: &TrialRecord, objectives: &[Objective]) -> Value {
    let measured = |m: &crate::store::Measurement| json!({ "value": m.value, "low": m.low, "high": m.high, "unit": m.unit });
    let values = objectives.iter().map(|o| (o.metric.clone(), json!(trial.value(&o.metric))));
    let all = trial.measurements.iter().map(|(name, m)| (name.clone(), measured(m)));
    json!({
        "number": trial.number,
        "candidate": trial.candidate,
        "state": trial.state.to_string(),
        "failure": trial.failure.as_ref().map(|f| json!({ "kind": f.kind, "text": f.text })),
        "objectives": values.collect::<serde_json::Map<_, _>>(),
        "measurements": all.collect::<serde_json::Map<_, _>>(),
    })
}
