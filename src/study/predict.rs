//! Memory and time of a candidate from exact tensor sizes and the host's ceilings, in microseconds and before anything is built.
//!
//! A prediction only decides what to try; it is never reported as a result. Prediction errors are stored with the trials.

use serde::{Deserialize, Serialize};

use crate::measure::workload::Workload;
use crate::space::Config;

/// What the machine was measured to do with a number of threads.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    /// Bytes read from memory per second.
    pub bytes_per_s: f64,
    /// Multiply-adds count two: f32 operations per second.
    pub flops: f64,
}

/// The shape of a candidate as the cost formulas see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    /// All tensors, in bytes: what is mapped.
    pub weight_bytes: u64,
    /// Tensors that the engine copies into another layout when repacking is on, in bytes.
    pub repacked_bytes: u64,
    /// Weights that every token is multiplied with (no look-up tables), in elements.
    pub active_weights: u64,
    /// Elements of one token's K over all layers.
    pub k_elements: u64,
    /// Elements of one token's V over all layers.
    pub v_elements: u64,
    /// Vocabulary.
    pub vocabulary: u64,
    /// Width of the residual stream.
    pub hidden: u64,
    /// Widest FFN.
    pub ffn: u64,
    /// Query heads of the widest layer.
    pub heads: u64,
}

/// Memory of the process before any model: code, libraries, thread stacks, the tokenizer's tables grow with the vocabulary.
const PROCESS_BYTES: u64 = 14 << 20;
/// Tokenizer tables, per vocabulary entry.
const TOKEN_BYTES: u64 = 330;

/// Predicted peak memory of a worker, in bytes.
#[must_use]
pub fn peak_memory_bytes(shape: &Shape, config: &Config) -> u64 {
    let cells = u64::from(config.batch) * u64::from(config.context.div_ceil(256) * 256);
    let kv = cells * (config.kv_k.row_bytes(shape.k_elements) + config.kv_v.row_bytes(shape.v_elements));
    let rows = u64::from(config.ubatch);
    // The widest moments of the graph: FFN gate and up together with the residual, or the logits of the rows that want them.
    let activations = rows * (2 * shape.ffn + 4 * shape.hidden) * 4;
    let logits = 2 * u64::from(config.batch) * shape.vocabulary * 4;
    let mask = rows * u64::from(config.context) * 4;
    let repacked = if config.repack { shape.repacked_bytes } else { 0 };
    PROCESS_BYTES
        + TOKEN_BYTES * shape.vocabulary
        + shape.weight_bytes
        + repacked
        + kv
        + activations
        + logits
        + mask
}

/// Predicted median request latency of the workload, in milliseconds: each decode step reads the weights and the KV cache once and
/// computes for every sequence of the wave; prompts are bound by arithmetic.
#[must_use]
pub fn latency_ms(shape: &Shape, config: &Config, workload: &Workload, ceiling: &Ceiling) -> f64 {
    let slots = config.batch.min(workload.requests).max(1);
    let depth = f64::from(workload.prompt_tokens) + f64::from(workload.output_tokens) / 2.0;
    let kv_row = (config.kv_k.row_bytes(shape.k_elements) + config.kv_v.row_bytes(shape.v_elements)) as f64;
    let operations = 2.0 * shape.active_weights as f64;
    let read = shape.weight_bytes as f64 + f64::from(slots) * depth * kv_row;
    let step_s = read / ceiling.bytes_per_s + f64::from(slots) * operations / ceiling.flops;
    let prompt_s = f64::from(workload.prompt_tokens) * operations / ceiling.flops
        + shape.weight_bytes as f64 / ceiling.bytes_per_s;
    let wave_s = f64::from(slots) * prompt_s + f64::from(workload.output_tokens) * step_s;
    // Half of the requests have ended when the median one ends.
    let waves = f64::from(workload.requests.div_ceil(slots));
    let median_wave = ((waves + 1.0) / 2.0).max(1.0);
    1e3 * wave_s * median_wave
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::Candidate;

    fn shape() -> Shape {
        Shape {
            weight_bytes: 100_000_000,
            repacked_bytes: 50_000_000,
            active_weights: 100_000_000,
            k_elements: 192 * 30,
            v_elements: 192 * 30,
            vocabulary: 49_152,
            hidden: 576,
            ffn: 1536,
            heads: 9,
        }
    }

    #[test]
    fn memory_grows_with_what_is_asked_for() {
        let small = Config::from_candidate(&Candidate::default()).unwrap();
        let base = peak_memory_bytes(&shape(), &small);
        assert!(base > 150_000_000);
        let more = Config { batch: 4, ..small.clone() };
        let kv = 3 * 1024 * 2 * 192 * 30 * 2;
        assert_eq!(peak_memory_bytes(&shape(), &more) - base, kv + 3 * 2 * 49_152 * 4);
        let unpacked = Config { repack: false, ..small };
        assert_eq!(base - peak_memory_bytes(&shape(), &unpacked), 50_000_000);
    }

    #[test]
    fn waiting_and_batching_show_in_the_latency() {
        let workload = Workload { prompt_tokens: 512, output_tokens: 128, requests: 4, shared_tokens: 0 };
        let ceiling = Ceiling { bytes_per_s: 2e10, flops: 1e11 };
        let one = Config::from_candidate(&Candidate::default()).unwrap();
        let four = Config { batch: 4, ..one.clone() };
        let (a, b) = (
            latency_ms(&shape(), &one, &workload, &ceiling),
            latency_ms(&shape(), &four, &workload, &ceiling),
        );
        assert!(a > 0.0 && b > 0.0 && a.is_finite() && (b / a) < 2.0);
    }
}
