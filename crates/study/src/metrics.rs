//! What is observed, as rows of the store: names, units, intervals.

use crate::Settings;
use autotune_core::stats::Interval;
use autotune_quality::accuracy::{Line, of_lines};
use autotune_quality::divergence::Divergence;
use autotune_store::NewMeasurement;
use autotune_worker::artifact::Measured;
use autotune_worker::protocol::Built;
use autotune_worker::summary::TimingSummary;
use autotune_worker::timing::TimingSamples;

/// A row from an interval.
#[must_use]
pub fn row(metric: &str, unit: &str, i: &Interval) -> NewMeasurement {
    NewMeasurement::interval(metric, unit, i.value, i.low, i.high, i.samples)
}

fn with_raw(mut row: NewMeasurement, raw: &[f64]) -> NewMeasurement {
    row.raw = raw.to_vec();
    row
}

/// Of a build.
#[must_use]
pub fn of_build(built: &Built) -> Vec<NewMeasurement> {
    let mut rows = vec![
        NewMeasurement::exact("artifact_bytes", "bytes", built.bytes as f64),
        NewMeasurement::exact("tensors_quantized", "count", built.quantized as f64),
        NewMeasurement::exact("tensors_reused", "count", built.reused as f64),
        NewMeasurement::exact("type_fallbacks", "count", built.fallbacks.len() as f64),
    ];
    if let Some(recovery) = &built.recovery {
        rows.push(NewMeasurement::exact("recovery_s", "s", recovery.spent_s));
        rows.push(NewMeasurement::exact("recovery_steps", "count", recovery.steps as f64));
        rows.push(NewMeasurement::exact("recovery_kl_before", "nats", recovery.before));
        rows.push(NewMeasurement::exact("recovery_kl_after", "nats", recovery.after));
    }
    rows
}

/// Of a prediction: peak memory, and latency before anything was learnt and as the trials so far correct it.
#[must_use]
pub fn of_prediction(peak_bytes: u64, latency_ms: f64, corrected_ms: f64) -> Vec<NewMeasurement> {
    vec![
        NewMeasurement::exact("predicted_peak_memory_bytes", "bytes", peak_bytes as f64),
        NewMeasurement::exact("predicted_latency_ms", "ms", latency_ms),
        NewMeasurement::exact("corrected_latency_ms", "ms", corrected_ms),
    ]
}

/// The share of a battery of so many watt-hours that 1,000 output tokens take.
#[must_use]
pub fn battery_share(joules_per_token: f64, watt_hours: f64) -> f64 {
    1000.0 * joules_per_token / (3600.0 * watt_hours)
}

/// The machine's pace while a trial was timed.
pub const PACE: &str = "machine_pace";

/// Of a timed workload.
#[must_use]
pub fn of_timing(
    samples: &TimingSamples,
    summary: &TimingSummary,
    settings: &Settings,
    measured: &Measured,
    peak_bytes: u64,
) -> Vec<NewMeasurement> {
    let workload = &settings.workload;
    let outcome = &measured.outcome;
    let passes = samples.passes(workload);
    let waves: Vec<f64> = samples.waves.iter().map(|w| w.duration_ms).collect();
    let mut rows = vec![
        with_raw(row("request_latency_p50_ms", "ms", &summary.latency_p50_ms), &passes.latency_ms),
        with_raw(row("ttft_p50_ms", "ms", &summary.ttft_p50_ms), &passes.ttft_ms),
        with_raw(row("tpot_p50_ms", "ms", &summary.tpot_p50_ms), &samples.step_ms),
        with_raw(row("prompt_tokens_per_s", "tokens/s", &summary.prompt_tokens_per_s), &samples.prompt_ms),
        row("decode_tokens_per_s", "tokens/s", &summary.decode_tokens_per_s),
        with_raw(row("throughput_tokens_per_s", "tokens/s", &summary.throughput_tokens_per_s), &waves),
        NewMeasurement::exact("peak_memory_bytes", "bytes", peak_bytes as f64),
        NewMeasurement::exact("worker_cpu_s", "s", outcome.cpu.as_secs_f64()),
        NewMeasurement::exact("worker_wall_s", "s", outcome.wall.as_secs_f64()),
    ];
    for (metric, percentile) in [
        ("request_latency_p95_ms", &summary.latency_p95_ms),
        ("request_latency_p99_ms", &summary.latency_p99_ms),
        ("ttft_p95_ms", &summary.ttft_p95_ms),
    ] {
        rows.extend(percentile.as_ref().map(|i| row(metric, "ms", i)));
    }
    if let Some((ms, info)) = &measured.loaded {
        rows.push(NewMeasurement::exact("load_ms", "ms", *ms));
        // The engine's own account.
        for (what, metric) in [
            ("model", "engine_weights_bytes"),
            ("kv", "engine_kv_bytes"),
            ("compute", "engine_compute_bytes"),
            ("output", "engine_output_bytes"),
        ] {
            rows.extend(info.bytes_of(what).map(|b| NewMeasurement::exact(metric, "bytes", b as f64)));
        }
    }
    if let Some(gpu) = &outcome.gpu {
        rows.push(NewMeasurement::exact("device_memory_bytes", "bytes", gpu.peak_bytes as f64));
        rows.extend(gpu.power_w.map(|watts| NewMeasurement::exact("gpu_power_w", "W", watts)));
        if let Some((low, high)) = gpu.clock_mhz {
            rows.push(NewMeasurement::exact("gpu_clock_low_mhz", "MHz", f64::from(low)));
            rows.push(NewMeasurement::exact("gpu_clock_high_mhz", "MHz", f64::from(high)));
        }
    }
    if let Some(machine) = &measured.machine {
        let d = &machine.disturbance;
        rows.push(NewMeasurement::exact(PACE, "1/s", machine.pace().rounds_per_s));
        rows.push(NewMeasurement::exact("others_cpu_share", "fraction", d.others_share));
        rows.push(NewMeasurement::exact("steal_share", "fraction", d.steal_share));
    }
    if let Some(joules) = measured.joules_per_token(workload) {
        rows.push(NewMeasurement::exact("joules_per_token", "J", joules));
        rows.extend(measured.mean_power_w().map(|watts| NewMeasurement::exact("mean_power_w", "W", watts)));
        if let Some(wh) = settings.battery_wh {
            let share = battery_share(joules, wh);
            rows.push(NewMeasurement::exact("battery_share_per_1000_tokens", "fraction", share));
        }
    }
    if let Some((anonymous, file)) = outcome.split_bytes {
        rows.push(NewMeasurement::exact("anonymous_memory_bytes", "bytes", anonymous as f64));
        rows.push(NewMeasurement::exact("file_memory_bytes", "bytes", file as f64));
    }
    rows
}

/// The beginnings of what another timing of the same artifact measures anew. Memory stays as it was: it is no matter of chance.
const TIMED: [&str; 8] = [
    "request_latency_",
    "ttft_",
    "tpot_",
    "prompt_tokens_per_s",
    "decode_tokens_per_s",
    "throughput_tokens_per_s",
    "joules_per_token",
    "mean_power_w",
];

/// Of a workload that was timed once more: see [`of_timing`].
#[must_use]
pub fn of_repeat(rows: Vec<NewMeasurement>) -> Vec<NewMeasurement> {
    rows.into_iter().filter(|row| TIMED.iter().any(|timed| row.metric.starts_with(timed))).collect()
}

/// Of a comparison with the reference, and of the lines of held-out code that were completed.
#[must_use]
pub fn of_divergence(d: &Divergence, lines: &[Line]) -> Vec<NewMeasurement> {
    let mut rows = vec![
        row("kl_mean", "nats", &d.kl_mean),
        NewMeasurement::exact("kl_p99", "nats", d.kl_p99),
        row("top1_agreement", "fraction", &d.top1_agreement),
        row("heldout_nll", "nats", &d.nll),
    ];
    if let Some((exact, similarity)) = of_lines(lines) {
        rows.push(row("next_line_exact", "fraction", &exact));
        rows.push(row("next_line_similarity", "fraction", &similarity));
    }
    rows
}
