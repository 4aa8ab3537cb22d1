//! `autotune bench`: the measuring protocol alone, one row for each combination of settings.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

use super::args::BenchArgs;
use super::interrupt::Interrupt;
use super::printer::Printer;
use super::scratch::Scratch;
use super::settings;
use crate::carried::{carries, is_too_noisy, needed};
use crate::engine::{EngineBuffer, EngineKind, Inspection};
use crate::exit::{Exit, Expected};
use crate::host::gpu_use::GpuUse;
use crate::report::{Align, table};
use crate::space::{Candidate, Config, KvType};
use crate::stats::Interval;
use crate::study::metrics::battery_share;
use crate::study::prepare::timing_text;
use crate::study::presets;
use crate::tuner::converted::Converted;
use crate::tuner::{parts, preflight};
use crate::units::Bytes;
use crate::worker::artifact::{MachineState, Measured, Request, measure, timing_run};
use crate::worker::protocol::TimingPlan;
use crate::worker::summary::TimingSummary;
use crate::worker::supervisor::{End, Supervisor};
use crate::worker::timing::{TimingLimits, TimingSamples};
use crate::worker::workload::Workload;

/// No combination is worth waiting longer for.
const TIMEOUT: Duration = Duration::from_secs(4 * 3600);

/// One combination and what came out.
#[derive(Debug, Serialize)]
struct BenchRow {
    model: String,
    workload: String,
    threads: u32,
    kv_k: &'static str,
    kv_v: &'static str,
    batch: u32,
    ubatch: u32,
    repack: bool,
    gpu_layers: u32,
    context: u32,
    /// `done`, or what went wrong.
    end: String,
    #[serde(flatten)]
    summary: Option<TimingSummary>,
    /// How the intervals were found.
    interval_method: Option<&'static str>,
    requests_timed: u64,
    load_ms: Option<f64>,
    /// What a budget is compared with.
    peak_memory_bytes: Option<u64>,
    anonymous_memory_bytes: Option<u64>,
    file_memory_bytes: Option<u64>,
    weight_bytes: Option<u64>,
    /// The engine's own account of its memory.
    engine_buffers: Vec<EngineBuffer>,
    /// What the GPUs did, with the device memory that the peak holds; none without layers there.
    gpu: Option<GpuUse>,
    worker_cpu_s: f64,
    worker_wall_s: f64,
    /// What else the machine did, and its pace.
    machine: Option<MachineState>,
    /// What speaks against this row.
    doubt: Option<String>,
    /// None: not measurable here.
    joules_per_token: Option<f64>,
    /// Mean over the worker's whole run; none: not measurable here.
    mean_power_w: Option<f64>,
    /// Of the battery that was stated: the share that 1,000 output tokens take.
    battery_share_per_1000_tokens: Option<f64>,
    samples: Option<TimingSamples>,
}

/// Measures and prints.
///
/// # Errors
/// Wrong flags, a model that is none, a worker that cannot be started.
pub fn run(args: &BenchArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let given = settings::model_path(args.model.as_deref())?;
    let engine: EngineKind = args.engine.into();
    engine.version().map_err(|e| Expected::environment(e.to_string()))?;
    let offloads = engine.open().is_ok_and(|e| e.offloads());
    let workload: Workload =
        args.workload.parse().map_err(|e| Expected::usage(format!("--workload: {e}")))?;
    let budget_bytes = args.budget.as_deref().map(settings::budget_bytes).transpose()?;
    if !(args.target > 0.0 && args.target < 1.0) {
        let text = format!("--target: invalid share {}: write for example 0.02 for 2 %", args.target);
        return Err(Expected::usage(text).into());
    }
    settings::battery(args.battery_wh)?;
    if args.gpu_layers.iter().any(|n| *n > 0) && !offloads {
        let text = "--gpu-layers: this engine finds no GPU here; build with --features cuda, metal or vulkan for one";
        return Err(Expected::environment(text.to_owned()).into());
    }
    let limits = TimingLimits {
        target: args.target,
        cap_s: settings::duration("--cap", &args.cap)?.as_secs_f64(),
        max_passes: 1000,
        min_requests: args.requests,
        share: None,
    };
    let usable = parts::probe(Path::new("."))?.usable_threads();
    let configs = combinations(args, &workload, usable)?;
    if let Some(most) = args.threads.iter().copied().max().filter(|most| *most > usable) {
        printer.remark(&format!(
            "{most} threads are more than the {usable} cores that this process may use: they share cores, so the times do not represent \
             a machine with that many cores"
        ));
    }
    let scratch = Scratch::new("bench")?;
    let converted = Converted::of(&given, &scratch.0, printer)?;
    let path = converted.path.clone();
    let found = preflight::load(engine, &path, engine == EngineKind::LlamaCpp, printer)?;
    let configs: Vec<Config> = configs.into_iter().filter(|config| takes(&found, config, printer)).collect();
    if configs.is_empty() {
        let text = format!("{}: no combination of --kv can be measured on this model", given.display());
        return Err(Expected::usage(text).into());
    }
    let supervisor = Supervisor::of_this_program()?.on(settings::device(&args.device, engine)?);
    let interrupt = Interrupt::listen().context("failed to listen for Ctrl-C")?;
    let cancelled = || interrupt.is_set();
    let mut rows = Vec::new();
    for (number, config) in configs.iter().enumerate() {
        printer.remark(&format!("{} of {}: {}", number + 1, configs.len(), named(config)));
        let request = Request {
            engine,
            artifact: path.clone(),
            run: timing_run(config, &workload),
            workload,
            text: timing_text(),
            plan: TimingPlan::Requests { limits },
            budget_bytes,
            timeout: TIMEOUT,
        };
        let measured = measure(&supervisor, request, &cancelled, &mut |_| {})?;
        if let Some(warning) = &measured.outcome.warning {
            printer.warn(warning);
        }
        if measured.outcome.end == End::Cancelled {
            break;
        }
        rows.push(row(args, &given.display().to_string(), config, &workload, measured, budget_bytes));
    }
    if args.json {
        printer.data(&serde_json::to_string_pretty(&rows)?);
    } else {
        print(&rows, printer);
    }
    let done = rows.iter().filter(|r| r.summary.is_some()).count();
    Ok(match (cancelled(), done) {
        (true, _) => Exit::Interrupted,
        (false, 0) => Exit::NoResult,
        (false, _) => Exit::Success,
    })
}

/// Whether the engine takes the cache types of a combination for this model; says so where it does not.
fn takes(found: &Inspection, config: &Config, printer: &mut Printer) -> bool {
    let refused = preflight::refused_cache(found, config.kv_k, config.kv_v);
    if let Some(why) = &refused {
        let (k, v) = (config.kv_k.name(), config.kv_v.name());
        printer.remark(&format!("--kv {k}/{v} left out: the engine refuses it for this model: {why}"));
    }
    refused.is_none()
}

/// Every combination of the listed settings, in the order in which they were listed.
fn combinations(args: &BenchArgs, workload: &Workload, usable: u32) -> anyhow::Result<Vec<Config>> {
    let threads = if args.threads.is_empty() { vec![usable] } else { args.threads.clone() };
    let batches = if args.batch.is_empty() { vec![workload.requests.min(4)] } else { args.batch.clone() };
    let kv = args.kv.iter().map(|text| kv_pair(text)).collect::<Result<Vec<_>, _>>()?;
    let mut all = Vec::new();
    for &threads in &threads {
        for &(kv_k, kv_v) in &kv {
            for &batch in &batches {
                for (&ubatch, &gpu_layers) in product(&args.ubatch, &args.gpu_layers) {
                    let base = Config::from_candidate(&Candidate::default())?;
                    all.push(Config {
                        threads,
                        kv_k,
                        kv_v,
                        batch,
                        ubatch,
                        context: presets::context_for(workload),
                        repack: !args.no_repack,
                        gpu_layers,
                        ..base
                    });
                }
            }
        }
    }
    Ok(all)
}

fn product<'a, A, B>(first: &'a [A], second: &'a [B]) -> impl Iterator<Item = (&'a A, &'a B)> {
    first.iter().flat_map(move |a| second.iter().map(move |b| (a, b)))
}

/// `f16`, or K and V apart: `q8_0/f16`.
fn kv_pair(text: &str) -> Result<(KvType, KvType), Expected> {
    let one = |name: &str| KvType::ALL.into_iter().find(|t| t.name().eq_ignore_ascii_case(name.trim()));
    let (k, v) = text.split_once('/').unwrap_or((text, text));
    match (one(k), one(v)) {
        (Some(k), Some(v)) => Ok((k, v)),
        _ => Err(Expected::usage(format!(
            "--kv: invalid KV cache type `{text}`: expected f32, f16, bf16, q8_0 or q4_0, or K/V separately as in q8_0/f16"
        ))),
    }
}

fn named(config: &Config) -> String {
    format!(
        "{} threads, KV {}/{}, batch {}, ubatch {}{}",
        config.threads,
        config.kv_k.name(),
        config.kv_v.name(),
        config.batch,
        config.ubatch,
        on_gpu(config.gpu_layers)
    )
}

fn on_gpu(layers: u32) -> String {
    if layers > 0 { format!(", {layers} layers on the GPU") } else { String::new() }
}

fn row(
    args: &BenchArgs,
    model: &str,
    config: &Config,
    workload: &Workload,
    m: Measured,
    budget: Option<u64>,
) -> BenchRow {
    let summary = m.summary(workload);
    let joules_per_token = m.joules_per_token(workload);
    let peak = m.outcome.peak_bytes;
    let end = match &m.outcome.end {
        End::Done => match (budget, peak) {
            (Some(budget), Some(peak)) if peak > budget => {
                format!("its peak of {} is over the budget of {}", Bytes(peak), Bytes(budget))
            }
            _ => "done".to_owned(),
        },
        End::OverMemory => {
            format!(
                "stopped at {}, over the budget of {}",
                Bytes(peak.unwrap_or(0)),
                Bytes(budget.unwrap_or(0))
            )
        }
        End::Failed(text) | End::Refused(text) => text.clone(),
        End::Crashed(text) => format!("crashed: {text}"),
        End::TimedOut => format!("stopped after {} h", TIMEOUT.as_secs() / 3600),
        End::Cancelled => "cancelled".to_owned(),
    };
    BenchRow {
        model: model.to_owned(),
        workload: workload.to_string(),
        threads: config.threads,
        kv_k: config.kv_k.name(),
        kv_v: config.kv_v.name(),
        batch: config.batch.min(workload.requests),
        ubatch: config.ubatch,
        repack: config.repack,
        gpu_layers: config.gpu_layers,
        context: config.context,
        end,
        summary,
        interval_method: m.samples.as_ref().map(TimingSamples::method),
        requests_timed: m.samples.as_ref().map_or(0, TimingSamples::requests),
        load_ms: m.loaded.as_ref().map(|(ms, _)| *ms),
        peak_memory_bytes: peak,
        anonymous_memory_bytes: m.outcome.split_bytes.map(|(anonymous, _)| anonymous),
        file_memory_bytes: m.outcome.split_bytes.map(|(_, file)| file),
        weight_bytes: m.loaded.as_ref().map(|(_, info)| info.weight_bytes),
        worker_cpu_s: m.outcome.cpu.as_secs_f64(),
        worker_wall_s: m.outcome.wall.as_secs_f64(),
        machine: m.machine,
        doubt: m.doubt(None),
        mean_power_w: m.mean_power_w(),
        engine_buffers: m.loaded.as_ref().map(|(_, info)| info.buffers.clone()).unwrap_or_default(),
        gpu: m.outcome.gpu,
        joules_per_token,
        battery_share_per_1000_tokens: joules_per_token
            .zip(args.battery_wh)
            .map(|(joules, wh)| battery_share(joules, wh)),
        samples: m.samples,
    }
}

fn print(rows: &[BenchRow], printer: &mut Printer) {
    let Some(first) = rows.first() else { return };
    printer.data(&format!("model {}, workload {}", first.model, first.workload));
    let head: Vec<(&str, Align)> =
        ["threads", "KV", "batch", "ubatch", "prompt tok/s", "decode tok/s", "TTFT", "TPOT"]
            .into_iter()
            .chain(["p50", "p95", "p99", "n", "peak", "anonymous", "file", "load", "requests"])
            .map(|name| (name, Align::Right))
            .collect();
    let lines: Vec<Vec<String>> = rows.iter().filter_map(cells).collect();
    if !lines.is_empty() {
        for line in table(&head, &lines) {
            printer.data(&line);
        }
        printer.data(
            "Times are milliseconds; (low-high) and ± are 95 % intervals; p50, p95, p99 are request latencies, waits for a slot included, of n \
             waves of requests that ran together.",
        );
        let short_of = |q| rows_fall_short(rows, q);
        if short_of(0.95) || short_of(0.99) {
            printer.data(&format!(
                "A percentile is reported only with enough samples: p95 from n = {}, p99 from n = {}; --requests and --cap give more.",
                needed(0.95),
                needed(0.99)
            ));
        }
    }
    match rows.iter().filter_map(|r| r.joules_per_token).reduce(f64::min) {
        None => printer.data("Energy: not measurable here."),
        Some(_) => {
            for row in rows {
                let Some(joules) = row.joules_per_token else { continue };
                let battery = row.battery_share_per_1000_tokens.map_or_else(String::new, |share| {
                    format!(", {:.2} % of the battery for 1,000 tokens", 100.0 * share)
                });
                let power = row.mean_power_w.map_or_else(String::new, |w| format!(", {w:.1} W"));
                let (threads, batch, gpu) = (row.threads, row.batch, on_gpu(row.gpu_layers));
                printer.data(&format!(
                    "Energy, {threads} threads, batch {batch}{gpu}: {joules:.3} J a token{power}{battery}"
                ));
            }
        }
    }
    for row in rows {
        let parts: Vec<String> = row
            .engine_buffers
            .iter()
            .map(|b| format!("{} {} ({})", b.what, Bytes(b.bytes), b.place))
            .chain(row.gpu.iter().map(|g| format!("total on the device {}", Bytes(g.peak_bytes))))
            .collect();
        if !parts.is_empty() {
            printer.data(&format!(
                "Memory as the engine reports it, batch {}: {}",
                row.batch,
                parts.join(", ")
            ));
        }
    }
    for (number, row) in rows.iter().enumerate() {
        if let Some(doubt) = &row.doubt {
            printer.remark(&format!("row {}: {doubt}; re-measure on an idle machine", number + 1));
        }
    }
    for row in rows.iter().filter(|r| r.end != "done") {
        let (threads, batch) = (row.threads, row.batch);
        let kv = format!("{}/{}", row.kv_k, row.kv_v);
        let (ubatch, gpu, end) = (row.ubatch, on_gpu(row.gpu_layers), &row.end);
        printer.data(&format!("{threads} threads, KV {kv}, batch {batch}, ubatch {ubatch}{gpu}: {end}"));
    }
}

/// Whether a row's samples do not carry a percentile.
fn rows_fall_short(rows: &[BenchRow], q: f64) -> bool {
    rows.iter().filter_map(|r| r.summary.as_ref()).any(|s| !carries(q, s.latency_p50_ms.samples))
}

fn cells(row: &BenchRow) -> Option<Vec<String>> {
    let s = row.summary.as_ref()?;
    let bytes = |b: Option<u64>| b.map_or_else(|| "–".to_owned(), |b| Bytes(b).to_string());
    let too_noisy = |i: &Interval| {
        is_too_noisy(i.low, i.high).then(|| format!("too noisy: {:.1}-{:.1}", i.low.max(0.0), i.high))
    };
    let rate = |i: &Interval| {
        let stated = || format!("{:.1} ±{:.1} %", i.value, 100.0 * i.relative_half_width());
        too_noisy(i).unwrap_or_else(stated)
    };
    let time = |i: &Interval| {
        let digits = if i.value < 100.0 { 1 } else { 0 };
        let stated = || format!("{:.digits$} ({:.digits$}-{:.digits$})", i.value, i.low, i.high);
        too_noisy(i).unwrap_or_else(stated)
    };
    let percentile = |i: &Option<Interval>| i.as_ref().map_or_else(|| "–".to_owned(), time);
    Some(vec![
        row.threads.to_string(),
        if row.kv_k == row.kv_v { row.kv_k.to_owned() } else { format!("{}/{}", row.kv_k, row.kv_v) },
        row.batch.to_string(),
        row.ubatch.to_string(),
        rate(&s.prompt_tokens_per_s),
        rate(&s.decode_tokens_per_s),
        time(&s.ttft_p50_ms),
        time(&s.tpot_p50_ms),
        time(&s.latency_p50_ms),
        percentile(&s.latency_p95_ms),
        percentile(&s.latency_p99_ms),
        s.latency_p50_ms.samples.to_string(),
        bytes(row.peak_memory_bytes),
        bytes(row.anonymous_memory_bytes),
        bytes(row.file_memory_bytes),
        row.load_ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms:.0}")),
        row.requests_timed.to_string(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_types_are_read_together_or_apart() {
        assert_eq!(kv_pair("q8_0").unwrap(), (KvType::Q8_0, KvType::Q8_0));
        assert_eq!(kv_pair("Q8_0/f16").unwrap(), (KvType::Q8_0, KvType::F16));
        assert!(kv_pair("q9").unwrap_err().text.contains("q8_0/f16"));
    }
}
