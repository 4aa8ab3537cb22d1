//! Measured metrics as rows of the store: names, units, intervals.

use crate::Settings;
use autotune_core::metric::names;
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
        NewMeasurement::exact(names::ARTIFACT_BYTES, "bytes", built.bytes as f64),
        NewMeasurement::exact(names::TENSORS_QUANTIZED, "count", built.quantized as f64),
        NewMeasurement::exact(names::TENSORS_REUSED, "count", built.reused as f64),
        NewMeasurement::exact(names::TYPE_FALLBACKS, "count", built.fallbacks.len() as f64),
    ];
    if let Some(recovery) = &built.recovery {
        rows.push(NewMeasurement::exact(names::RECOVERY_S, "s", recovery.spent_s));
        rows.push(NewMeasurement::exact(names::RECOVERY_STEPS, "count", recovery.steps as f64));
        rows.push(NewMeasurement::exact(names::RECOVERY_KL_BEFORE, "nats", recovery.before));
        rows.push(NewMeasurement::exact(names::RECOVERY_KL_AFTER, "nats", recovery.after));
    }
    rows
}

/// Of a prediction: peak memory, and latency before any correction and as the trials so far correct it.
#[must_use]
pub fn of_prediction(peak_bytes: u64, latency_ms: f64, corrected_ms: f64) -> Vec<NewMeasurement> {
    vec![
        NewMeasurement::exact(names::PREDICTED_PEAK_MEMORY_BYTES, "bytes", peak_bytes as f64),
        NewMeasurement::exact(names::PREDICTED_LATENCY_MS, "ms", latency_ms),
        NewMeasurement::exact(names::CORRECTED_LATENCY_MS, "ms", corrected_ms),
    ]
}

/// The share of a battery of this many watt-hours that 1,000 output tokens take.
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
        with_raw(row(names::REQUEST_LATENCY_P50_MS, "ms", &summary.latency_p50_ms), &passes.latency_ms),
        with_raw(row(names::TTFT_P50_MS, "ms", &summary.ttft_p50_ms), &passes.ttft_ms),
        with_raw(row(names::TPOT_P50_MS, "ms", &summary.tpot_p50_ms), &samples.step_ms),
        with_raw(
            row(names::PROMPT_TOKENS_PER_S, "tokens/s", &summary.prompt_tokens_per_s),
            &samples.prompt_ms,
        ),
        row(names::DECODE_TOKENS_PER_S, "tokens/s", &summary.decode_tokens_per_s),
        with_raw(row(names::THROUGHPUT_TOKENS_PER_S, "tokens/s", &summary.throughput_tokens_per_s), &waves),
        NewMeasurement::exact(names::PEAK_MEMORY_BYTES, "bytes", peak_bytes as f64),
        NewMeasurement::exact(names::WORKER_CPU_S, "s", outcome.cpu.as_secs_f64()),
        NewMeasurement::exact(names::WORKER_WALL_S, "s", outcome.wall.as_secs_f64()),
    ];
    for (metric, percentile) in [
        (names::REQUEST_LATENCY_P95_MS, &summary.latency_p95_ms),
        (names::REQUEST_LATENCY_P99_MS, &summary.latency_p99_ms),
        (names::TTFT_P95_MS, &summary.ttft_p95_ms),
    ] {
        rows.extend(percentile.as_ref().map(|i| row(metric, "ms", i)));
    }
    if let Some((ms, info)) = &measured.loaded {
        rows.push(NewMeasurement::exact(names::LOAD_MS, "ms", *ms));
        // The engine's own account.
        for (what, metric) in [
            ("model", names::ENGINE_WEIGHTS_BYTES),
            ("kv", names::ENGINE_KV_BYTES),
            ("compute", names::ENGINE_COMPUTE_BYTES),
            ("output", names::ENGINE_OUTPUT_BYTES),
        ] {
            rows.extend(info.bytes_of(what).map(|b| NewMeasurement::exact(metric, "bytes", b as f64)));
        }
    }
    if let Some(gpu) = &outcome.gpu {
        rows.push(NewMeasurement::exact(names::DEVICE_MEMORY_BYTES, "bytes", gpu.peak_bytes as f64));
        rows.extend(gpu.power_w.map(|watts| NewMeasurement::exact(names::GPU_POWER_W, "W", watts)));
        if let Some((low, high)) = gpu.clock_mhz {
            rows.push(NewMeasurement::exact(names::GPU_CLOCK_LOW_MHZ, "MHz", f64::from(low)));
            rows.push(NewMeasurement::exact(names::GPU_CLOCK_HIGH_MHZ, "MHz", f64::from(high)));
        }
    }
    if let Some(machine) = &measured.machine {
        let d = &machine.disturbance;
        rows.push(NewMeasurement::exact(PACE, "1/s", machine.pace().rounds_per_s));
        rows.push(NewMeasurement::exact(names::OTHERS_CPU_SHARE, "fraction", d.others_share));
        rows.push(NewMeasurement::exact(names::STEAL_SHARE, "fraction", d.steal_share));
    }
    if let Some(joules) = measured.joules_per_token(workload) {
        rows.push(NewMeasurement::exact(names::JOULES_PER_TOKEN, "J", joules));
        rows.extend(
            measured.mean_power_w().map(|watts| NewMeasurement::exact(names::MEAN_POWER_W, "W", watts)),
        );
        if let Some(wh) = settings.battery_wh {
            let share = battery_share(joules, wh);
            rows.push(NewMeasurement::exact(names::BATTERY_SHARE_PER_1000_TOKENS, "fraction", share));
        }
    }
    if let Some((anonymous, file)) = outcome.split_bytes {
        rows.push(NewMeasurement::exact(names::ANONYMOUS_MEMORY_BYTES, "bytes", anonymous as f64));
        rows.push(NewMeasurement::exact(names::FILE_MEMORY_BYTES, "bytes", file as f64));
    }
    rows
}

/// The beginnings of what another timing of the same artifact measures anew. Memory stays as it was: it is no matter of chance.
const TIMED: [&str; 8] = [
    "request_latency_",
    "ttft_",
    "tpot_",
    names::PROMPT_TOKENS_PER_S,
    names::DECODE_TOKENS_PER_S,
    names::THROUGHPUT_TOKENS_PER_S,
    names::JOULES_PER_TOKEN,
    names::MEAN_POWER_W,
];

/// Of a workload that was re-timed: see [`of_timing`].
#[must_use]
pub fn of_repeat(rows: Vec<NewMeasurement>) -> Vec<NewMeasurement> {
    rows.into_iter().filter(|row| TIMED.iter().any(|timed| row.metric.starts_with(timed))).collect()
}

/// Of a comparison with the reference, and of the lines of held-out code that were completed.
#[must_use]
pub fn of_divergence(d: &Divergence, lines: &[Line]) -> Vec<NewMeasurement> {
    let mut rows = vec![
        row(names::KL_MEAN, "nats", &d.kl_mean),
        NewMeasurement::exact(names::KL_P99, "nats", d.kl_p99),
        row(names::TOP1_AGREEMENT, "fraction", &d.top1_agreement),
        row(names::HELDOUT_NLL, "nats", &d.nll),
    ];
    if let Some((exact, similarity)) = of_lines(lines) {
        rows.push(row(names::NEXT_LINE_EXACT, "fraction", &exact));
        rows.push(row(names::NEXT_LINE_SIMILARITY, "fraction", &similarity));
    }
    rows
}
