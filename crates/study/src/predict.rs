//! Memory and time of a candidate from exact tensor sizes and the host's ceilings, in microseconds and before anything is built.
//!
//! A prediction only decides what to try; it is never reported as a result. Prediction errors are stored with the trials.

use serde::{Deserialize, Serialize};

use autotune_core::space::{Config, KvType};
use autotune_model::GgmlType;
use autotune_worker::rates::KernelRates;
use autotune_worker::workload::Workload;

/// What the machine was measured to do with a number of threads.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    /// Bytes read from memory per second.
    pub bytes_per_s: f64,
    /// Multiply-adds count two: f32 operations per second.
    pub flops: f64,
}

/// Weights of one type that are multiplied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrices {
    /// Their type.
    pub ty: GgmlType,
    /// How many, in elements.
    pub weights: u64,
    /// Whether they give the logits: then only rows whose logits are requested are multiplied.
    pub output: bool,
}

/// The shape of a candidate as the cost formulas see it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shape {
    /// All tensors, in bytes: what is mapped.
    pub weight_bytes: u64,
    /// What the engine's library takes beyond a small program, in bytes.
    pub process_bytes: u64,
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
    /// Layers, each counted by its share of the widest's query heads.
    pub layers: f64,
    /// All matrices by type.
    pub matrices: Vec<Matrices>,
}

/// Memory of the process before any model: code, libraries, thread stacks, the tokenizer's tables grow with the vocabulary.
const PROCESS_BYTES: u64 = 16 << 20;
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
        + shape.process_bytes
        + TOKEN_BYTES * shape.vocabulary
        + shape.weight_bytes
        + repacked
        + kv
        + activations
        + logits
        + mask
}

/// Nats a token that rounding all weights to steps of one bit would cost; every further bit halves the error, and the divergence is
/// quadratic in it. Fitted by eye to the demo model (docs/src/project/benchmarks/compression.md, "Few bits": Q8_0 .003, Q6_K .005, Q5_0 .043, Q4_0 .175).
const ROUNDING: f64 = 90.0;
/// What fitted scales are worth to the types that have them (K and IQ), in bits.
const FITTED_BITS: f64 = 0.5;
/// Nats a token for each share of FFN channels or heads that is cut, and for each share of the layers: .08 to .96 for 5 to 30 % of both,
/// .3 for one layer of thirty.
const CUTTING: f64 = 3.0;
const DROPPING: f64 = 10.0;
/// Of what rounding all weights costs, rounding the K or the V cache costs so much.
const CACHING: f64 = 0.25;

/// The divergence from the reference, in nats a token, that is assumed of a candidate of a model with this many layers while nothing was
/// probed or measured. It orders choices and no more: the search drops it where it misleads.
#[must_use]
pub fn assumed_divergence(shape: &Shape, config: &Config, layers: u32) -> f64 {
    let rounding = |bits: f64| if bits < 16.0 { ROUNDING * 4f64.powf(-bits) } else { 0.0 };
    let fitted = |ty: GgmlType| {
        if ty.name().ends_with("_K") || ty.name().starts_with("IQ") { FITTED_BITS } else { 0.0 }
    };
    let all: u64 = shape.matrices.iter().map(|m| m.weights).sum();
    let share = |weights: u64| weights as f64 / all.max(1) as f64;
    let weights: f64 =
        shape.matrices.iter().map(|m| share(m.weights) * rounding(m.ty.bits() + fitted(m.ty))).sum();
    let cache = |ty: KvType| CACHING * rounding(ty.row_bytes(32) as f64 / 4.0);
    let cut = CUTTING * ((1.0 - config.keep_ffn) + (1.0 - config.keep_kv_heads));
    let dropped = DROPPING * f64::from(config.drop_layers) / f64::from(layers.max(1));
    weights + cache(config.kv_k) + cache(config.kv_v) + cut + dropped
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

/// Predicted median request latency from measured kernel rates, in milliseconds; none where a type was not measured. `slower` is the
/// factor by which the candidate's threads compute less than those that the rates were measured with.
#[must_use]
pub fn latency_from_rates_ms(
    shape: &Shape,
    config: &Config,
    workload: &Workload,
    rates: &KernelRates,
    slower: f64,
) -> Option<f64> {
    let parts = request_parts(shape, config, workload, rates)?;
    Some(slower * 1e-6 * parts.request_ns(config, workload))
}

/// Predicted speed of a candidate at the workload.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// Median time to first token, waiting included, in milliseconds.
    pub ttft_ms: f64,
    /// Prompt tokens per second.
    pub prompt_tokens_per_s: f64,
    /// Tokens per second of one sequence while it decodes.
    pub decode_tokens_per_s: f64,
}

impl Speed {
    /// From the time of a whole prompt, of its part that all requests share, and of a decode step of all slots, in seconds.
    fn of(prompt_s: f64, shared_s: f64, step_s: f64, config: &Config, workload: &Workload) -> Self {
        let slots = config.batch.clamp(1, workload.requests.max(1));
        let own = prompt_s - shared_s;
        let wave = f64::from(slots) * own + f64::from(workload.output_tokens.saturating_sub(1)) * step_s;
        // Requests arrive together: those of later waves wait, and the prompts of a wave are processed one after the other.
        let mut first: Vec<f64> = (0..workload.requests.max(1))
            .map(|i| shared_s + f64::from(i / slots) * wave + f64::from(i % slots + 1) * own)
            .collect();
        first.sort_by(f64::total_cmp);
        let middle = (first[(first.len() - 1) / 2] + first[first.len() / 2]) / 2.0;
        Self {
            ttft_ms: 1e3 * middle,
            prompt_tokens_per_s: f64::from(workload.prompt_tokens) / prompt_s,
            decode_tokens_per_s: 1.0 / step_s,
        }
    }
}

/// Predicted speed from the host's ceilings, by the same cost model as [`latency_ms`].
#[must_use]
pub fn speed_from_ceiling(shape: &Shape, config: &Config, workload: &Workload, ceiling: &Ceiling) -> Speed {
    let slots = config.batch.min(workload.requests).max(1);
    let depth = f64::from(workload.prompt_tokens) + f64::from(workload.output_tokens) / 2.0;
    let kv_row = (config.kv_k.row_bytes(shape.k_elements) + config.kv_v.row_bytes(shape.v_elements)) as f64;
    let operations = 2.0 * shape.active_weights as f64;
    let read = shape.weight_bytes as f64 + f64::from(slots) * depth * kv_row;
    let step_s = read / ceiling.bytes_per_s + f64::from(slots) * operations / ceiling.flops;
    let prompt_s = f64::from(workload.prompt_tokens) * operations / ceiling.flops
        + shape.weight_bytes as f64 / ceiling.bytes_per_s;
    Speed::of(prompt_s, 0.0, step_s, config, workload)
}

/// Predicted speed from measured kernel rates, as [`latency_from_rates_ms`]; none where a type was not measured.
#[must_use]
pub fn speed_from_rates(
    shape: &Shape,
    config: &Config,
    workload: &Workload,
    rates: &KernelRates,
    slower: f64,
) -> Option<Speed> {
    let parts = request_parts(shape, config, workload, rates)?;
    let s = |ns: f64| slower * 1e-9 * ns;
    Some(Speed::of(s(parts.prompt_ns), s(parts.shared_ns), s(parts.step_ns), config, workload))
}

/// What a request is made of, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RequestParts {
    /// A whole prompt.
    pub prompt_ns: f64,
    /// The tokens that requests share at the begin of their prompts.
    pub shared_ns: f64,
    /// A decode step of all slots.
    pub step_ns: f64,
}

impl RequestParts {
    /// Median request latency: half of the requests have ended when the median one ends; each wave waits for those before.
    fn request_ns(&self, config: &Config, workload: &Workload) -> f64 {
        let slots = config.batch.clamp(1, workload.requests.max(1));
        let own = self.prompt_ns - self.shared_ns;
        let steps = f64::from(workload.output_tokens.saturating_sub(1)) * self.step_ns;
        let wave = f64::from(slots) * own + steps;
        let waves = f64::from(workload.requests.div_ceil(slots));
        self.shared_ns + wave * ((waves + 1.0) / 2.0).max(1.0)
    }
}

fn request_parts(
    shape: &Shape,
    config: &Config,
    workload: &Workload,
    rates: &KernelRates,
) -> Option<RequestParts> {
    let kv = (config.kv_k, config.kv_v);
    // Few rows are multiplied by the plain kernels' cost, too: repacked layouts have their own rates at one row.
    let products = |rows: f64, output: bool| -> Option<f64> {
        let of = |m: &&Matrices| m.output == output;
        let one = |m: &Matrices| Some(m.weights as f64 * rates.matmul_ns(m.ty, config.repack, rows)?);
        shape.matrices.iter().filter(of).map(one).sum()
    };
    let prompt = |tokens: u32| -> Option<f64> {
        let mut total = 0.0;
        let mut start = 0;
        while start < tokens {
            let rows = config.ubatch.max(1).min(tokens - start);
            let behind = f64::from(start) + f64::from(rows) / 2.0;
            let layer = rates.layer_ns(kv, f64::from(rows), 1, behind)?;
            total += products(f64::from(rows), false)? + shape.layers * layer;
            start += rows;
        }
        Some(total)
    };
    let slots = config.batch.clamp(1, workload.requests.max(1));
    let depth = f64::from(workload.prompt_tokens) + f64::from(workload.output_tokens) / 2.0;
    let layer = rates.layer_ns(kv, f64::from(slots), slots, depth)?;
    let step_ns =
        products(f64::from(slots), false)? + products(f64::from(slots), true)? + shape.layers * layer;
    Some(RequestParts {
        prompt_ns: prompt(workload.prompt_tokens)? + products(1.0, true)?,
        shared_ns: prompt(workload.shared_tokens)?,
        step_ns,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use autotune_core::space::{Candidate, KvType};
    use autotune_worker::rates::{LayerRate, MatmulRate};

    fn shape() -> Shape {
        Shape {
            weight_bytes: 100_000_000,
            process_bytes: 0,
            repacked_bytes: 50_000_000,
            active_weights: 100_000_000,
            k_elements: 192 * 30,
            v_elements: 192 * 30,
            vocabulary: 49_152,
            hidden: 576,
            ffn: 1536,
            heads: 9,
            layers: 30.0,
            matrices: vec![
                Matrices { ty: GgmlType::Q8_0, weights: 75_000_000, output: false },
                Matrices { ty: GgmlType::Q8_0, weights: 25_000_000, output: true },
            ],
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
    fn rates_add_up_to_a_request() {
        let rate = |rows, ns| MatmulRate { ty: GgmlType::Q8_0, repacked: false, rows, ns };
        let layer = |rows, streams, ns| LayerRate {
            kv_k: KvType::F16,
            kv_v: KvType::F16,
            rows,
            streams,
            positions: 256,
            ns,
        };
        let rates = KernelRates {
            matmul: vec![rate(1, 0.1), rate(4, 0.2), rate(128, 2.0)],
            layer: vec![layer(1, 1, 1e4), layer(4, 4, 2e4), layer(64, 1, 1e5)],
            ..KernelRates::default()
        };
        let workload: Workload = "128:11:4".parse().unwrap();
        let one = Config::from_candidate(&Candidate::default()).unwrap();
        let ms = |config: &Config| latency_from_rates_ms(&shape(), config, &workload, &rates, 1.0).unwrap();
        // Prompt: 75 M weights at 2 ns, 30 layers at 0.2 ms, and the logits of one row; step: 100 M weights, 30 layers.
        let (prompt, step) = (150.0 + 6.0 + 2.5, 10.0 + 0.3);
        assert!((ms(&one) - 2.5 * (prompt + 10.0 * step)).abs() < 1e-6, "{}", ms(&one));
        let four = Config { batch: 4, ..one.clone() };
        assert!((ms(&four) - (4.0 * prompt + 10.0 * (20.0 + 0.6))).abs() < 1e-6);
        let unknown = Config { kv_k: KvType::Q8_0, ..one };
        assert_eq!(latency_from_rates_ms(&shape(), &unknown, &workload, &rates, 1.0), None);
    }

    #[test]
    fn assumed_divergence_orders_choices() {
        let plain = Config::from_candidate(&Candidate::default()).unwrap();
        let of = |ty: GgmlType, config: &Config| {
            let mut shape = shape();
            shape.matrices.iter_mut().for_each(|m| m.ty = ty);
            assumed_divergence(&shape, config, 30)
        };
        let kl = |ty| of(ty, &plain);
        let types = [
            GgmlType::F16,
            GgmlType::Q8_0,
            GgmlType::Q6_K,
            GgmlType::Q5_K,
            GgmlType::Q4_K,
            GgmlType::Q4_0,
            GgmlType::Q3_K,
            GgmlType::Q2_K,
        ];
        assert_eq!(kl(GgmlType::F16), 0.0);
        assert!(types.windows(2).all(|w| kl(w[0]) < kl(w[1])), "{:?}", types.map(kl));
        let cut = Config { keep_ffn: 0.9, ..plain.clone() };
        let dropped = Config { drop_layers: 1, ..plain.clone() };
        let cached = Config { kv_k: KvType::Q4_0, ..plain.clone() };
        let costs = [&cached, &cut, &dropped].map(|c| of(GgmlType::F16, c));
        assert!(0.0 < costs[0] && costs.windows(2).all(|w| w[0] < w[1]), "{costs:?}");
        assert!((of(GgmlType::Q4_0, &cut) - kl(GgmlType::Q4_0) - costs[1]).abs() < 1e-12, "they add up");
        assert_eq!(assumed_divergence(&Shape::default(), &plain, 0), 0.0);
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

    #[test]
    fn predicted_speed_and_latency_follow_one_cost_model() {
        let workload = Workload { prompt_tokens: 512, output_tokens: 128, requests: 1, shared_tokens: 0 };
        let ceiling = Ceiling { bytes_per_s: 1e10, flops: 1e11 };
        let candidate = Config::from_candidate(&Candidate::default()).unwrap();
        let config = Config { batch: 1, ..candidate };
        let speed = speed_from_ceiling(&shape(), &config, &workload, &ceiling);
        let latency = speed.ttft_ms + 128.0 * 1e3 / speed.decode_tokens_per_s;
        assert!((latency - latency_ms(&shape(), &config, &workload, &ceiling)).abs() < 1e-6, "{speed:?}");
        assert!((speed.ttft_ms * speed.prompt_tokens_per_s / 1e3 - 512.0).abs() < 1e-6, "{speed:?}");
        // Three requests on one slot: the median one waits for the one before it.
        let three = Workload { requests: 3, ..workload };
        let waiting = speed_from_ceiling(&shape(), &config, &three, &ceiling);
        let step_ms = 1e3 / speed.decode_tokens_per_s;
        assert!((waiting.ttft_ms - (2.0 * speed.ttft_ms + 127.0 * step_ms)).abs() < 1e-6, "{waiting:?}");
    }
}
