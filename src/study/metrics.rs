//! What is observed, as rows of the store: names, units, intervals.

use crate::measure::protocol::Built;
use crate::measure::stats::Interval;
use crate::measure::supervisor::Outcome;
use crate::measure::timing::{TimingSamples, TimingSummary};
use crate::quality::accuracy::{Line, of_lines};
use crate::quality::divergence::Divergence;
use crate::store::NewMeasurement;

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
    vec![
        NewMeasurement::exact("artifact_bytes", "bytes", built.bytes as f64),
        NewMeasurement::exact("tensors_quantized", "count", built.quantized as f64),
        NewMeasurement::exact("tensors_reused", "count", built.reused as f64),
        NewMeasurement::exact("type_fallbacks", "count", built.fallbacks.len() as f64),
    ]
}

/// Of a prediction.
#[must_use]
pub fn of_prediction(peak_bytes: u64, latency_ms: f64) -> Vec<NewMeasurement> {
    vec![
        NewMeasurement::exact("predicted_peak_memory_bytes", "bytes", peak_bytes as f64),
        NewMeasurement::exact("predicted_latency_ms", "ms", latency_ms),
    ]
}

/// Of a timed workload.
#[must_use]
pub fn of_timing(
    samples: &TimingSamples,
    summary: &TimingSummary,
    load_ms: Option<f64>,
    peak_bytes: u64,
    outcome: &Outcome,
) -> Vec<NewMeasurement> {
    let mut rows = vec![
        with_raw(row("request_latency_p50_ms", "ms", &summary.latency_p50_ms), &samples.latency_ms),
        row("request_latency_p95_ms", "ms", &summary.latency_p95_ms),
        row("request_latency_p99_ms", "ms", &summary.latency_p99_ms),
        with_raw(row("ttft_p50_ms", "ms", &summary.ttft_p50_ms), &samples.ttft_ms),
        row("ttft_p95_ms", "ms", &summary.ttft_p95_ms),
        with_raw(row("tpot_p50_ms", "ms", &summary.tpot_p50_ms), &samples.step_ms),
        with_raw(row("prompt_tokens_per_s", "tokens/s", &summary.prompt_tokens_per_s), &samples.prompt_ms),
        row("decode_tokens_per_s", "tokens/s", &summary.decode_tokens_per_s),
        with_raw(
            row("throughput_tokens_per_s", "tokens/s", &summary.throughput_tokens_per_s),
            &samples.pass_ms,
        ),
        NewMeasurement::exact("peak_memory_bytes", "bytes", peak_bytes as f64),
        NewMeasurement::exact("worker_cpu_s", "s", outcome.cpu.as_secs_f64()),
        NewMeasurement::exact("worker_wall_s", "s", outcome.wall.as_secs_f64()),
    ];
    if let Some(ms) = load_ms {
        rows.push(NewMeasurement::exact("load_ms", "ms", ms));
    }
    if let Some((anonymous, file)) = outcome.split_bytes {
        rows.push(NewMeasurement::exact("anonymous_memory_bytes", "bytes", anonymous as f64));
        rows.push(NewMeasurement::exact("file_memory_bytes", "bytes", file as f64));
    }
    rows
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
