//! The baselines that people use today; trials of every study.

use super::kit::Kit;
use autotune_core::space::{Candidate, Space, Value};
use autotune_host::Tier;
use autotune_worker::workload::Workload;

/// The name under which the source file itself, untouched, is a preset.
pub const AS_SHIPPED: &str = "as-shipped";

/// llama.cpp's presets, the most used first, so that a study cut short has seen those.
pub const NAMES: [&str; 8] = ["Q4_K_M", "Q8_0", "F16", "Q4_0", "Q6_K", "Q5_K_M", "Q3_K_M", "Q2_K"];

/// llama.cpp's server decodes at most this many requests together by default.
const SERVER_SLOTS: u32 = 4;

/// The presets as candidates, run as llama.cpp's server runs a model by default: f16 KV cache, up to four slots, micro-batch 512,
/// repacking on, all usable threads, all layers on a GPU where `device_layers` says that there is one; the context is what the workload needs.
#[must_use]
pub fn candidates(
    kit: &dyn Kit,
    workload: &Workload,
    threads: u32,
    device_layers: u32,
) -> Vec<(String, Candidate)> {
    of(kit.presets(), workload, threads, device_layers, kit.shipped_quantized().is_some())
}

fn of(
    names: &[&str],
    workload: &Workload,
    threads: u32,
    device_layers: u32,
    shipped: bool,
) -> Vec<(String, Candidate)> {
    let shipped = shipped.then_some(AS_SHIPPED);
    names
        .iter()
        .copied()
        .chain(shipped)
        .map(|name| {
            let batch = workload.requests.min(SERVER_SLOTS);
            let candidate = ordinary(name, batch, context_for(workload), threads);
            let candidate = match device_layers {
                0 => candidate,
                layers => candidate.with("gpu_layers", Value::Int(i64::from(layers))),
            };
            (name.to_owned(), candidate)
        })
        .collect()
}

/// What the tier that a space is made for asks for, as a preset of its own: `mobile tier`; as far as the machine, the model (`context_max`
/// tokens, 0 where it does not say) and the workload go along. None for a space of no tier, where an ordinary preset is the same, and
/// where the weights that it requires are not among the format's presets (`names`).
#[must_use]
pub fn of_tier(
    names: &[&str],
    space: &str,
    workload: &Workload,
    threads: u32,
    context_max: u32,
) -> Option<(String, Candidate)> {
    let tier = Tier::named(space)?;
    let demand = tier.demand();
    if !names.contains(&demand.weights) {
        return None;
    }
    let longest = if context_max == 0 { u32::MAX } else { context_max };
    let context = demand.context.min(longest).max(context_for(workload));
    let candidate = ordinary(
        demand.weights,
        demand.requests.min(workload.requests),
        context,
        demand.threads.min(threads),
    );
    let known = of(names, workload, threads, 0, false).into_iter().any(|(_, c)| c == candidate);
    (!known).then(|| (format!("{tier} tier"), candidate))
}

/// A preset of llama.cpp with the settings of its server.
fn ordinary(weights: &str, batch: u32, context: u32, threads: u32) -> Candidate {
    Candidate::default()
        .with("weights.preset", Value::Text(weights.to_owned()))
        .with("kv.k", Value::Text("f16".to_owned()))
        .with("kv.v", Value::Text("f16".to_owned()))
        .with("batch", Value::Int(i64::from(batch)))
        .with("context", Value::Int(i64::from(context)))
        .with("threads", Value::Int(i64::from(threads)))
        .with("ubatch", Value::Int(512))
        .with("repack", Value::Bool(true))
}

/// The context that a request of the workload needs, rounded up as llama.cpp pads it (256 tokens).
#[must_use]
pub fn context_for(workload: &Workload) -> u32 {
    workload.context_tokens().div_ceil(256) * 256
}

/// The group types that a preset amounts to, to place it in a space: what llama.cpp gives most tensors of the group.
#[must_use]
pub fn as_groups(candidate: &Candidate) -> Candidate {
    let Some(Value::Text(preset)) = candidate.get("weights.preset") else { return candidate.clone() };
    let preset = preset.clone();
    let (attn, ffn, embd) = match preset.as_str() {
        "F16" => ("F16", "F16", "F16"),
        "Q8_0" => ("Q8_0", "Q8_0", "Q8_0"),
        "Q6_K" => ("Q6_K", "Q6_K", "Q6_K"),
        "Q5_K_M" => ("Q5_K", "Q5_K", "Q6_K"),
        "Q4_K_M" => ("Q4_K", "Q4_K", "Q6_K"),
        "Q3_K_M" => ("Q3_K", "Q3_K", "Q6_K"),
        "Q2_K" => ("Q2_K", "Q3_K", "Q6_K"),
        "Q4_0" => ("Q4_0", "Q4_0", "Q6_K"),
        "F32" | "BF16" | "INT8" | "INT8_DYN" => (preset.as_str(), preset.as_str(), preset.as_str()),
        "INT4" => ("INT4", "INT4", "INT8"),
        _ => ("Q4_0", "Q4_0", "Q8_0"),
    };
    let mut placed = candidate.clone();
    placed.0.remove("weights.preset");
    for (role, ty) in [("attn", attn), ("ffn", ffn), ("embd", embd)] {
        placed = placed.with(&format!("weights.{role}"), Value::Text(ty.to_owned()));
        if role != "embd" {
            for depth in ["early", "middle", "late"] {
                placed = placed.with(&format!("weights.{role}.{depth}"), Value::Text(ty.to_owned()));
            }
        }
    }
    placed
        .with("prune.keep_kv_heads", Value::Real(1.0))
        .with("prune.keep_ffn", Value::Real(1.0))
        .with("prune.drop_layers", Value::Int(0))
        .with("weights.tie", Value::Bool(false))
}

/// Whether a candidate is the user's own file, untouched.
#[must_use]
pub fn is_as_shipped(candidate: &Candidate) -> bool {
    matches!(candidate.get("weights.preset"), Some(Value::Text(name)) if name == AS_SHIPPED)
}

/// A preset's place in a space: its groups' types, or where the space lacks one, the type with the nearest number of bits, rather more than
/// fewer: a type that does not fit a model's rows is replaced by one of more bits.
#[must_use]
pub fn in_space(candidate: &Candidate, space: &Space) -> Candidate {
    let mut placed = as_groups(candidate);
    for param in space.params.iter().filter(|p| p.name.starts_with("weights.")) {
        let Some(Value::Text(wanted)) = placed.get(&param.name) else { continue };
        let (wanted, bits) = (wanted.clone(), bits(wanted));
        let distance = |level: &Value| match level {
            Value::Text(name) if *name == wanted => -1.0,
            Value::Text(name) if self::bits(name) >= bits => self::bits(name) - bits,
            Value::Text(name) => FEWER * (bits - self::bits(name)),
            _ => f64::INFINITY,
        };
        if let Some(level) = param.levels.iter().min_by(|a, b| distance(a).total_cmp(&distance(b))) {
            placed = placed.with(&param.name, level.clone());
        }
    }
    placed
}

/// A bit too few counts as far as this many bits too many.
const FEWER: f64 = 2.5;

/// Bits per weight of a type, by its name's digit (a K-quant's scales take about half a bit more, as the others' do).
fn bits(name: &str) -> f64 {
    for (end, bits) in [("F16", 16.0), ("F32", 32.0)] {
        if name.ends_with(end) {
            return bits;
        }
    }
    name.chars().find_map(|c| c.to_digit(10)).map_or(8.0, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use autotune_core::space::{Config, WeightPlan};

    #[test]
    fn presets_are_candidates_that_read_as_configurations() {
        let workload = Workload { prompt_tokens: 512, output_tokens: 128, requests: 16, shared_tokens: 0 };
        let all = of(&NAMES, &workload, 2, 0, true);
        assert_eq!(all.len(), 9);
        for (name, candidate) in &all {
            let config = Config::from_candidate(candidate).unwrap();
            assert_eq!(config.weights, WeightPlan::Preset(name.clone()));
            assert_eq!((config.batch, config.context), (4, 768));
            assert!(Config::from_candidate(&as_groups(candidate)).is_ok());
            assert_eq!(config.gpu_layers, 0);
        }
        for (_, candidate) in of(&NAMES, &workload, 2, 31, false) {
            assert_eq!(Config::from_candidate(&candidate).unwrap().gpu_layers, 31);
        }
    }

    #[test]
    fn a_tier_is_a_preset_of_its_space() {
        let chat = Workload { prompt_tokens: 512, output_tokens: 128, requests: 4, shared_tokens: 0 };
        let at = |space: &str, threads, most| {
            let (name, candidate) = of_tier(&NAMES, space, &chat, threads, most)?;
            let c = Config::from_candidate(&candidate).unwrap();
            let WeightPlan::Preset(weights) = c.weights else { panic!() };
            Some((name, weights, c.context, c.batch, c.threads))
        };
        let is = |name: &str, weights: &str, context, batch, threads| {
            Some((name.to_owned(), weights.to_owned(), context, batch, threads))
        };
        assert_eq!(at("mobile", 8, 8192), is("mobile tier", "Q4_K_M", 4096, 1, 4));
        assert_eq!(at("edge", 8, 8192), is("edge tier", "Q8_0", 8192, 2, 6));
        assert_eq!(at("desktop", 2, 8192), is("desktop tier", "F16", 8192, 4, 2));
        assert_eq!(at("server", 64, 0), is("server tier", "F16", 32_768, 4, 16));
        assert_eq!(at("laptop", 8, 8192), None);
        // Nothing is tried twice under two names.
        assert_eq!(at("desktop", 8, 768), None);
    }
}
