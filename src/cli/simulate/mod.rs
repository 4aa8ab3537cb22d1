//! `autotune simulate`: searches a recorded table, so that samplers can be compared where every answer is known.

mod levels;
mod options;
mod space_file;
mod table;
mod task;

use serde_json::json;

use super::args::SimulateArgs;
use super::printer::Printer;
use crate::exit::{Exit, Expected};
use crate::search::{
    Ask, History, Observation, Problem, Random, Region, SamplerKind, TrialState, hypervolume, pareto_front,
};
use task::Task;

/// The stream of measurement noise, apart from the samplers' own.
const NOISE_STREAM: u64 = 1 << 32;

/// Runs the command.
///
/// # Errors
/// A wrong option, space or table; a table in which nothing fits.
pub fn run(args: &SimulateArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let kind: SamplerKind = args.sampler.parse().map_err(|e| Expected::usage(format!("--sampler: {e}")))?;
    let mut sampler = kind.sampler();
    let task = options::task(args)?;
    if task.fitting() == 0 {
        let text = format!(
            "none of the {} rows fits the budget {}; raise it",
            task.table.rows(),
            args.budget.as_deref().unwrap_or("none")
        );
        return Err(Expected { exit: Exit::Infeasible, text }.into());
    }
    printer.remark(&format!(
        "{} rows, {} fit; a space of {} points",
        task.table.rows(),
        task.fitting(),
        task.space().size()
    ));
    let mut history = History::default();
    let mut exhausted = false;
    for number in 0..args.trials {
        let Ask::Point(point) = sampler.ask(&task, &history, args.seed, number) else {
            exhausted = true;
            break;
        };
        let row = task
            .table
            .row(&point)
            .ok_or_else(|| anyhow::anyhow!("a sampler requested a point without a row"))?;
        let objectives = task.measure(row, &mut Random::new(args.seed, number, NOISE_STREAM));
        let state = if objectives.contains(&None) { TrialState::Failed } else { TrialState::Complete };
        history.observations.push(Observation {
            number,
            point,
            exact: true,
            state,
            objectives,
            proxies: Vec::new(),
            repeats: None,
        });
    }
    report(args, &task, &history, exhausted, printer);
    Ok(Exit::Success)
}

/// Prints the evaluated points, and the hypervolume by the table's own values inside the region that the search ended with.
fn report(args: &SimulateArgs, task: &Task, history: &History, exhausted: bool, printer: &mut Printer) {
    let region = Region::of(task, history);
    let full = region.as_ref().map(|r| {
        let inside: Vec<Vec<f64>> = task.losses().into_iter().filter(|l| r.contains(l)).collect();
        let front: Vec<Vec<f64>> = pareto_front(&inside).into_iter().map(|i| inside[i].clone()).collect();
        hypervolume(&front, &r.reference)
    });
    let mut reached: Vec<Vec<f64>> = Vec::new();
    let mut trials = Vec::new();
    for o in &history.observations {
        let values = task.table.row(&o.point).map(|row| task.values(row)).unwrap_or_default();
        let losses: Option<Vec<f64>> =
            values.iter().zip(&task.objectives).map(|(v, objective)| objective.loss(*v)).collect();
        reached.extend(losses);
        let volume = region.as_ref().map(|r| hypervolume(&reached, &r.reference));
        let share = volume.zip(full).filter(|(_, f)| *f > 0.0).map(|(v, f)| v / f);
        let named = |value: &dyn Fn(usize) -> serde_json::Value| -> serde_json::Value {
            task.objectives.iter().enumerate().map(|(i, ob)| (ob.name.clone(), value(i))).collect()
        };
        let candidate = task.space().candidate(&o.point).unwrap_or_default();
        if args.json {
            trials.push(json!({
                "number": o.number,
                "candidate": candidate,
                "state": if o.state == TrialState::Complete { "complete" } else { "failed" },
                "objectives": named(&|i| json!(values.get(i))),
                "measured": named(&|i| json!(o.objectives[i].map(|e| e.value))),
                "hypervolume": volume,
                "share": share,
            }));
        } else {
            let shown: Vec<String> = task
                .objectives
                .iter()
                .zip(&values)
                .map(|(ob, v)| format!("{} {}", ob.name, significant(*v)))
                .collect();
            let share = share.map_or_else(|| "-".to_owned(), |s| format!("{:.1} %", 100.0 * s));
            printer.data(&format!(
                "{:>5}  {share:>7}  {}  {}",
                o.number,
                shown.join("  "),
                candidate.canonical_json()
            ));
        }
    }
    if args.json {
        let trace: Vec<_> = trials.iter().map(|t: &serde_json::Value| t["hypervolume"].clone()).collect();
        let scales: serde_json::Map<_, _> = task
            .objectives
            .iter()
            .map(|ob| (ob.name.clone(), json!(if ob.log_scale { "log" } else { "linear" })))
            .collect();
        let point: Option<serde_json::Map<_, _>> = region.as_ref().map(|r| {
            let value = |(i, ob): (usize, &crate::search::Objective)| {
                (ob.name.clone(), json!(ob.value(r.reference[i])))
            };
            task.objectives.iter().enumerate().map(value).collect()
        });
        let bounds: Option<serde_json::Map<_, _>> = region.as_ref().map(|r| {
            let bound = |(i, ob): (usize, &crate::search::Objective)| {
                (ob.name.clone(), json!({"bound": ob.value(r.reference[i]), "derived": r.derived[i]}))
            };
            task.objectives.iter().enumerate().map(bound).collect()
        });
        let text = json!({
            "sampler": args.sampler,
            "seed": args.seed,
            "space": task.space().name,
            "rows": task.table.rows(),
            "fitting_rows": task.fitting(),
            "exhausted": exhausted,
            "scales": scales,
            "region": bounds,
            "reference_point": point,
            "front_hypervolume": full,
            "hypervolume_trace": trace,
            "trials": trials,
        });
        printer.data(&text.to_string());
        return;
    }
    if let Some(r) = &region {
        let bounds = task.objectives.iter().enumerate().map(|(i, ob)| {
            let scale = if ob.log_scale { " (log scale)" } else { "" };
            format!("{} {}{scale}", ob.name, significant(ob.value(r.reference[i])))
        });
        printer.remark(&format!(
            "shares of the table's hypervolume up to {}",
            bounds.collect::<Vec<_>>().join(", ")
        ));
    }
    if exhausted {
        printer
            .remark(&format!("exhausted: all {} feasible rows were evaluated", history.observations.len()));
    }
}

/// Four significant digits, without an exponent where people write none.
fn significant(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let digits = (3 - value.abs().log10().floor() as i32).clamp(0, 12);
    format!("{value:.*}", digits as usize)
}
