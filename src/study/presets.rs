//! The baselines that people use today; trials of every study.

use crate::measure::workload::Workload;
use crate::space::{Candidate, Space, Value};

/// The name under which the source file itself, untouched, is a preset.
pub const AS_SHIPPED: &str = "as-shipped";

/// The preset that is the uncompressed model.
pub const UNCOMPRESSED: &str = "F16";

/// llama.cpp's presets, the most used first, so that a study cut short has seen those.
pub const NAMES: [&str; 8] = ["Q4_K_M", "Q8_0", "F16", "Q4_0", "Q6_K", "Q5_K_M", "Q3_K_M", "Q2_K"];

/// llama.cpp's server decodes at most this many requests together unless told otherwise.
const SERVER_SLOTS: u32 = 4;

/// The presets as candidates, run as llama.cpp's server runs a model by default: f16 KV cache, up to four slots, micro-batch 512,
/// repacking on, all usable threads; the context is what the workload needs.
#[must_use]
pub fn candidates(workload: &Workload, threads: u32, shipped: bool) -> Vec<(String, Candidate)> {
    let shipped = shipped.then_some(AS_SHIPPED);
    NAMES
        .iter()
        .copied()
        .chain(shipped)
        .map(|name| {
            let candidate = Candidate::default()
                .with("weights.preset", Value::Text(name.to_owned()))
                .with("kv.k", Value::Text("f16".to_owned()))
                .with("kv.v", Value::Text("f16".to_owned()))
                .with("batch", Value::Int(i64::from(workload.requests.min(SERVER_SLOTS))))
                .with("context", Value::Int(i64::from(context_for(workload))))
                .with("threads", Value::Int(i64::from(threads)))
                .with("ubatch", Value::Int(512))
                .with("repack", Value::Bool(true));
            (name.to_owned(), candidate)
        })
        .collect()
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
    let (attn, ffn, embd) = match preset.as_str() {
        "F16" => ("F16", "F16", "F16"),
        "Q8_0" => ("Q8_0", "Q8_0", "Q8_0"),
        "Q6_K" => ("Q6_K", "Q6_K", "Q6_K"),
        "Q5_K_M" => ("Q5_K", "Q5_K", "Q6_K"),
        "Q4_K_M" => ("Q4_K", "Q4_K", "Q6_K"),
        "Q3_K_M" => ("Q3_K", "Q3_K", "Q6_K"),
        "Q2_K" => ("Q2_K", "Q3_K", "Q6_K"),
        "Q4_0" => ("Q4_0", "Q4_0", "Q6_K"),
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
}

/// A preset's place in a space: its groups' types, or where the space lacks one, the type with the nearest number of bits.
#[must_use]
pub fn in_space(candidate: &Candidate, space: &Space) -> Candidate {
    let mut placed = as_groups(candidate);
    for param in space.params.iter().filter(|p| p.name.starts_with("weights.")) {
        let Some(Value::Text(wanted)) = placed.get(&param.name) else { continue };
        let (wanted, bits) = (wanted.clone(), bits(wanted));
        let distance = |level: &Value| match level {
            Value::Text(name) if *name == wanted => -1.0,
            Value::Text(name) => (self::bits(name) - bits).abs(),
            _ => f64::INFINITY,
        };
        if let Some(level) = param.levels.iter().min_by(|a, b| distance(a).total_cmp(&distance(b))) {
            placed = placed.with(&param.name, level.clone());
        }
    }
    placed
}

/// Bits per weight of a type, by its name's digit (a K-quant's scales take about half a bit more, as the others' do).
fn bits(name: &str) -> f64 {
    if name.ends_with("F16") {
        return 16.0;
    }
    name.chars().find_map(|c| c.to_digit(10)).map_or(8.0, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{Config, WeightPlan};

    #[test]
    fn presets_are_candidates_that_read_as_configurations() {
        let workload = Workload { prompt_tokens: 512, output_tokens: 128, requests: 16, shared_tokens: 0 };
        let all = candidates(&workload, 2, true);
        assert_eq!(all.len(), 9);
        for (name, candidate) in &all {
            let config = Config::from_candidate(candidate).unwrap();
            assert_eq!(config.weights, WeightPlan::Preset(name.clone()));
            assert_eq!((config.batch, config.context), (4, 768));
            assert!(Config::from_candidate(&as_groups(candidate)).is_ok());
        }
    }
}
