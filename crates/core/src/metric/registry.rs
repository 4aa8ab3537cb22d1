//! The rows of the registry.

use super::{Direction, Family, Unit};

/// A registered metric.
pub(super) struct Known {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) short: &'static str,
    pub(super) family: Family,
    pub(super) unit: Unit,
    pub(super) direction: Direction,
}

/// Declares the constants of the names and the table. Each row: constant, name: label, short label, family, unit, direction.
macro_rules! metrics {
    (
        described { $($constant:ident = $name:literal: $label:literal, $short:literal, $family:ident, $unit:ident, $direction:ident;)+ }
        by_suffix { $($other:ident = $text:literal;)+ }
    ) => {
        /// The names of metrics, as databases and JSON hold them.
        pub mod names {
            $(#[doc = $label] pub const $constant: &str = $name;)+
            $(#[doc = $text] pub const $other: &str = $text;)+
        }

        /// Every registered metric.
        pub(super) const KNOWN: &[Known] = &[$(Known {
            name: $name,
            label: $label,
            short: $short,
            family: Family::$family,
            unit: Unit::$unit,
            direction: Direction::$direction,
        }),+];
    };
}

#[rustfmt::skip]
metrics! {
    described {
    REQUEST_LATENCY_P50_MS = "request_latency_p50_ms": "request latency (median)", "latency", Speed, Ms, Min;
    REQUEST_LATENCY_P95_MS = "request_latency_p95_ms": "request latency (p95)", "latency p95", Speed, Ms, Min;
    REQUEST_LATENCY_P99_MS = "request_latency_p99_ms": "request latency (p99)", "latency p99", Speed, Ms, Min;
    TTFT_P50_MS = "ttft_p50_ms": "time to first token (median)", "TTFT", Speed, Ms, Min;
    TTFT_P95_MS = "ttft_p95_ms": "time to first token (p95)", "TTFT p95", Speed, Ms, Min;
    TTFT_P99_MS = "ttft_p99_ms": "time to first token (p99)", "TTFT p99", Speed, Ms, Min;
    TPOT_P50_MS = "tpot_p50_ms": "time per output token (median)", "TPOT", Speed, Ms, Min;
    TPOT_P95_MS = "tpot_p95_ms": "time per output token (p95)", "TPOT p95", Speed, Ms, Min;
    TPOT_P99_MS = "tpot_p99_ms": "time per output token (p99)", "TPOT p99", Speed, Ms, Min;
    DECODE_TOKENS_PER_S = "decode_tokens_per_s": "decode speed", "decode", Speed, Rate, Max;
    PROMPT_TOKENS_PER_S = "prompt_tokens_per_s": "prompt speed", "prompt", Speed, Rate, Max;
    THROUGHPUT_TOKENS_PER_S = "throughput_tokens_per_s": "throughput", "throughput", Speed, Rate, Max;
    LOAD_MS = "load_ms": "load time", "load", Speed, Ms, Min;
    PEAK_MEMORY_BYTES = "peak_memory_bytes": "peak memory", "peak memory", Memory, Bytes, Min;
    DEVICE_MEMORY_BYTES = "device_memory_bytes": "device memory", "device", Memory, Bytes, Min;
    JOULES_PER_TOKEN = "joules_per_token": "energy of an output token", "energy", Energy, Joules, Min;
    MEAN_POWER_W = "mean_power_w": "mean power", "power", Energy, Watts, Min;
    BATTERY_SHARE_PER_1000_TOKENS = "battery_share_per_1000_tokens": "battery for 1,000 tokens", "battery", Energy, Share, Min;
    ARTIFACT_BYTES = "artifact_bytes": "file size", "file", Memory, Bytes, Min;
    PASS_AT_1 = "pass_at_1": "pass@1", "pass@1", Quality, Share, Max;
    ESTIMATED_LOSS = "estimated_loss": "estimated loss of pass@k", "est. loss", Quality, Share, Min;
    PASS_AT_1_SAMPLED = "pass_at_1_sampled": "pass@1 (sampled)", "pass@1 sampled", Quality, Share, Max;
    PASS_AT_5 = "pass_at_5": "pass@5", "pass@5", Quality, Share, Max;
    PASS_AT_10 = "pass_at_10": "pass@10", "pass@10", Quality, Share, Max;
    PASS_AT_100 = "pass_at_100": "pass@100", "pass@100", Quality, Share, Max;
    CANONICAL_ACCURACY = "canonical_accuracy": "canonical tokens predicted", "tokens", Quality, Share, Max;
    NEXT_LINE_EXACT = "next_line_exact": "next lines written exactly", "lines", Quality, Share, Max;
    NEXT_LINE_SIMILARITY = "next_line_similarity": "edit similarity of next lines", "edit sim.", Quality, Share, Max;
    HELDOUT_NLL = "heldout_nll": "NLL of held-out code", "NLL held-out", Quality, Plain, Min;
    KL_MEAN = "kl_mean": "mean KL divergence", "KL", Quality, Plain, Min;
    KL_P99 = "kl_p99": "KL divergence (p99)", "KL p99", Quality, Plain, Min;
    TOP1_AGREEMENT = "top1_agreement": "top-1 agreement", "top-1", Quality, Share, Max;
    SYNTAX_VALID = "syntax_valid": "syntactically valid", "valid", Quality, Share, Max;
    CODEBLEU = "codebleu": "CodeBLEU", "CodeBLEU", Quality, Plain, Max;
    CANONICAL_NLL = "canonical_nll": "NLL of canonical solutions", "NLL", Quality, Plain, Min;
    OTHERS_CPU_SHARE = "others_cpu_share": "cores used by other programs", "others", Other, Share, Min;
    STEAL_SHARE = "steal_share": "cores taken by the hypervisor", "steal", Other, Share, Min;
    PREDICTED_LATENCY_MS = "predicted_latency_ms": "predicted latency", "pred. latency", Speed, Ms, Min;
    CORRECTED_LATENCY_MS = "corrected_latency_ms": "corrected prediction of latency", "corr. latency", Speed, Ms, Min;
    PREDICTED_PEAK_MEMORY_BYTES = "predicted_peak_memory_bytes": "predicted peak memory", "pred. peak", Memory, Bytes, Min;
    }
    by_suffix {
    ANONYMOUS_MEMORY_BYTES = "anonymous_memory_bytes";
    ENGINE_COMPUTE_BYTES = "engine_compute_bytes";
    ENGINE_KV_BYTES = "engine_kv_bytes";
    ENGINE_OUTPUT_BYTES = "engine_output_bytes";
    ENGINE_WEIGHTS_BYTES = "engine_weights_bytes";
    FILE_MEMORY_BYTES = "file_memory_bytes";
    GPU_CLOCK_HIGH_MHZ = "gpu_clock_high_mhz";
    GPU_CLOCK_LOW_MHZ = "gpu_clock_low_mhz";
    GPU_POWER_W = "gpu_power_w";
    RECOVERY_KL_AFTER = "recovery_kl_after";
    RECOVERY_KL_BEFORE = "recovery_kl_before";
    RECOVERY_S = "recovery_s";
    RECOVERY_STEPS = "recovery_steps";
    TENSORS_QUANTIZED = "tensors_quantized";
    TENSORS_REUSED = "tensors_reused";
    TYPE_FALLBACKS = "type_fallbacks";
    WORKER_CPU_S = "worker_cpu_s";
    WORKER_WALL_S = "worker_wall_s";
    }
}
