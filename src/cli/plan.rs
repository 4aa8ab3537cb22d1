//! `autotune plan`: what would fit, from sizes alone.

use serde::Serialize;

use super::args::PlanArgs;
use super::printer::Printer;
use super::{budget, settings};
use crate::engine::Device;
use crate::exit::{Exit, Expected};
use crate::host;
use crate::host::ProbeOptions;
use crate::search::Random;
use crate::space::{Config, LoadedSpace, SpaceFacts, load_space};
use crate::study::{
    Bounds, Cost, Quality, StudyProblem, describe, kit, leave_out_alike, objectives, presets,
};
use crate::tuner::converted::Outline;
use crate::tuner::rates::{self, Basis};
use crate::tuner::{parts, preflight};
use crate::units::Bytes;
use crate::worker::fault::told;
use crate::worker::workload::Workload;

/// Points sampled to estimate which share of the space fits.
const DRAWN: usize = 2000;

/// What a plan says of one configuration.
#[derive(Debug, Serialize)]
struct Planned {
    name: String,
    predicted_peak_memory_bytes: u64,
    predicted_latency_ms: f64,
    predicted_ttft_ms: f64,
    predicted_prompt_tokens_per_s: f64,
    predicted_decode_tokens_per_s: f64,
    artifact_bytes: u64,
    fits: bool,
}

/// The whole plan.
#[derive(Debug, Serialize)]
struct Plan {
    model: String,
    budget_bytes: u64,
    workload: String,
    presets: Vec<Planned>,
    space: String,
    space_points: String,
    /// Share of the space predicted to fit, from a seeded draw.
    space_fits: f64,
    /// What was changed in the space for this machine and model, in words.
    space_remarks: Vec<String>,
    smallest: Option<Planned>,
    /// What the latencies rest on.
    latency: Basis,
}

/// Prints the plan; nothing is loaded but the model's header.
///
/// # Errors
/// Wrong flags or a wrong model. When nothing fits, the plan is printed and the exit code says so.
pub fn run(args: &PlanArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let stated_bytes = args.budget.as_deref().map(settings::budget_bytes).transpose()?;
    let path = settings::model_path(args.model.as_deref())?;
    // Of a folder the file that it would become, without its weights: sizes are exact, and nothing is converted.
    let outline = Outline::of(&path)?;
    let file = outline.as_ref().map_or(path.as_path(), Outline::path);
    let engine: crate::engine::EngineKind = args.engine.into();
    let workload: Workload =
        args.workload.parse().map_err(|e| Expected::usage(format!("--workload: {e}")))?;
    let kit = kit::open(engine, file).map_err(|e| Expected::usage(told(&e)))?;
    let options = ProbeOptions { brief: true, ..ProbeOptions::default() };
    let host = host::probe(&options).map_err(|e| Expected::environment(told(&e.into())))?;
    let asked_bytes = stated_bytes.unwrap_or_else(|| budget::of_host(&host, printer));
    let (budget_bytes, capped) = preflight::budget(asked_bytes, &host);
    if let Some(text) = capped {
        printer.remark(&text);
    }
    let (kernel_rates, basis) = rates::kept(engine, kit.as_ref(), &host);
    let device_layers = parts::device_layers(engine, kit.as_ref());
    let facts = SpaceFacts {
        usable_threads: host.usable_threads(),
        model: Some(kit.facts()),
        workload_context_tokens: workload.context_tokens(),
        workload_requests: workload.requests,
        device_layers,
        block_caches: kit.has_block_caches(),
    };
    let LoadedSpace { mut space, notes } =
        load_space(&settings::space_for(engine, Device::Cpu, &args.space), &facts)
            .map_err(|e| Expected::usage(told(&e.into())))?;
    let alike = leave_out_alike(&mut space, kit.as_ref());
    let remarks: Vec<String> = notes.iter().map(ToString::to_string).chain(alike).collect();
    for remark in &remarks {
        printer.remark(&format!("space: {remark}"));
    }
    parts::check_types(&space, kit.as_ref(), Device::Cpu)?;
    let problem = StudyProblem::new(
        &space,
        kit.as_ref(),
        workload,
        parts::ceilings(&host),
        budget_bytes,
        &objectives(Cost::default(), Quality::default(), &Bounds::default()),
    )
    .with_rates(kernel_rates);
    let planned = |name: String, config: &Config| {
        let foreseen = problem.foresee(config)?;
        Some(Planned {
            name,
            predicted_peak_memory_bytes: foreseen.peak_bytes,
            predicted_latency_ms: foreseen.latency_ms,
            predicted_ttft_ms: foreseen.speed.ttft_ms,
            predicted_prompt_tokens_per_s: foreseen.speed.prompt_tokens_per_s,
            predicted_decode_tokens_per_s: foreseen.speed.decode_tokens_per_s,
            artifact_bytes: kit.shape(config).ok()?.weight_bytes,
            fits: foreseen.peak_bytes <= budget_bytes,
        })
    };
    let presets: Vec<Planned> =
        presets::candidates(kit.as_ref(), &workload, host.usable_threads(), device_layers)
            .into_iter()
            .filter_map(|(name, c)| planned(name, &Config::from_candidate(&c).ok()?))
            .collect();
    let mut random = Random::new(1, 0, 0);
    let fitting = (0..DRAWN)
        .filter(|_| {
            let point: Vec<usize> = space.params.iter().map(|p| random.below(p.levels.len())).collect();
            crate::search::Problem::feasible(&problem, &point)
        })
        .count();
    let smallest = problem.smallest().and_then(|(point, _)| {
        let candidate = space.candidate(&point)?;
        planned(describe(&candidate), &Config::from_candidate(&candidate).ok()?)
    });
    let plan = Plan {
        model: format!("{} ({})", path.display(), kit.describe()),
        budget_bytes,
        workload: workload.to_string(),
        presets,
        space: space.name.clone(),
        space_points: space.size().to_string(),
        space_fits: fitting as f64 / DRAWN as f64,
        space_remarks: remarks,
        smallest,
        latency: basis,
    };
    if args.json {
        printer.data(&serde_json::to_string_pretty(&plan)?);
    } else {
        print(&plan, printer);
    }
    let any = plan.presets.iter().chain(&plan.smallest).any(|p| p.fits);
    Ok(if any { Exit::Success } else { Exit::Infeasible })
}

fn print(plan: &Plan, printer: &mut Printer) {
    printer.data(&format!("model   {}", plan.model));
    printer.data(&format!(
        "budget  {} on the predicted peak, workload {}",
        Bytes(plan.budget_bytes),
        plan.workload
    ));
    printer.data(&format!(
        "{:<28} {:>10} {:>10} {:>12} {:>12} {:>14} {:>14}  fits",
        "preset", "file", "peak", "latency", "TTFT", "prompt", "decode"
    ));
    let row = |p: &Planned| {
        let fits = if p.fits { "yes" } else { "no" };
        format!(
            "{:<28} {:>10} {:>10} {:>9.0} ms {:>9.0} ms {:>8.1} tok/s {:>8.1} tok/s  {fits}",
            p.name,
            Bytes(p.artifact_bytes),
            Bytes(p.predicted_peak_memory_bytes),
            p.predicted_latency_ms,
            p.predicted_ttft_ms,
            p.predicted_prompt_tokens_per_s,
            p.predicted_decode_tokens_per_s
        )
    };
    for preset in &plan.presets {
        printer.data(&row(preset));
    }
    printer.data(&format!(
        "space   {}: {} candidates, about {:.0} % of them fit",
        plan.space,
        plan.space_points,
        100.0 * plan.space_fits
    ));
    if let Some(smallest) = &plan.smallest {
        printer.data(&format!(
            "smallest candidate: {} with a peak of {} ({})",
            Bytes(smallest.artifact_bytes),
            Bytes(smallest.predicted_peak_memory_bytes),
            smallest.name
        ));
    }
    printer.data(&format!(
        "All of these are predictions: memory from exact tensor sizes; {}. A study measures.",
        plan.latency.told()
    ));
}
