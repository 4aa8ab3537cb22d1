//! A candidate in a few words: only what varies in the study, and equal neighbours once.

use std::collections::{BTreeMap, BTreeSet};

use autotune_core::space::{Candidate, Value};
use autotune_store::TrialRecord;

/// Shortens the candidates of one study.
#[derive(Debug, Default)]
pub struct Shortener {
    varying: BTreeSet<String>,
}

impl Shortener {
    /// Learns which parameters differ between the trials. A parameter that some do not name counts as differing.
    #[must_use]
    pub fn new(trials: &[TrialRecord]) -> Self {
        let mut seen: BTreeMap<&str, (&Value, usize)> = BTreeMap::new();
        let mut varying = BTreeSet::new();
        for trial in trials {
            for (name, value) in &trial.candidate.0 {
                let (first, count) = seen.entry(name).or_insert((value, 0));
                *count += 1;
                if *first != value {
                    varying.insert(name.clone());
                }
            }
        }
        for (name, (_, count)) in seen {
            if count < trials.len() {
                varying.insert(name.to_owned());
            }
        }
        Self { varying }
    }

    /// The short form: `Q4_K, embd Q8_0, KV q8_0/f16, 8 % of FFN cut, batch 4, 2 threads`.
    #[must_use]
    pub fn short(&self, candidate: &Candidate) -> String {
        let says = |name: &str| self.varying.contains(name).then(|| candidate.get(name)).flatten();
        let mut parts = Vec::new();
        weights(candidate, &mut parts);
        if let (Some(k), Some(v)) = (candidate.get("kv.k"), candidate.get("kv.v"))
            && (says("kv.k").is_some() || says("kv.v").is_some())
        {
            parts.push(if k == v { format!("KV {k}") } else { format!("KV {k}/{v}") });
        }
        for (name, what) in [("prune.keep_kv_heads", "heads"), ("prune.keep_ffn", "FFN")] {
            if let Some(kept) = says(name).and_then(Value::as_f64).filter(|kept| *kept < 1.0) {
                parts.push(format!("{what} −{:.0} %", (1.0 - kept) * 100.0));
            }
        }
        if let Some(n) = says("prune.drop_layers").and_then(Value::as_f64).filter(|n| *n > 0.0) {
            parts.push(format!("−{n} layer{}", if n == 1.0 { "" } else { "s" }));
        }
        for (name, what) in
            [("batch", "batch"), ("context", "ctx"), ("threads", "threads"), ("ubatch", "ubatch")]
        {
            if let Some(value) = says(name) {
                parts.push(format!("{what} {value}"));
            }
        }
        if says("weights.tie") == Some(&Value::Bool(true)) {
            parts.push("embedding stored once".into());
        }
        if says("repack") == Some(&Value::Bool(false)) {
            parts.push("no repack".into());
        }
        if let Some(layers) = says("gpu_layers") {
            parts.push(format!("{layers} layers on the GPU"));
        }
        for (name, value) in &candidate.0 {
            if self.varying.contains(name) && !is_known(name) {
                parts.push(format!("{name} {value}"));
            }
        }
        if parts.is_empty() { "the only candidate".into() } else { parts.join(", ") }
    }
}

fn is_known(name: &str) -> bool {
    name.starts_with("weights.")
        || matches!(
            name,
            "kv.k"
                | "kv.v"
                | "prune.keep_kv_heads"
                | "prune.keep_ffn"
                | "prune.drop_layers"
                | "batch"
                | "context"
                | "threads"
                | "ubatch"
                | "repack"
                | "gpu_layers"
        )
}

/// The weight types are a candidate's name, so they are always said: one type for all, or the most common type and the exceptions.
fn weights(candidate: &Candidate, parts: &mut Vec<String>) {
    if let Some(preset) = candidate.get("weights.preset") {
        parts.push(preset.to_string());
        return;
    }
    let slots: Vec<(&str, String)> = candidate
        .0
        .iter()
        .filter(|(name, _)| name.as_str() != "weights.tie")
        .filter_map(|(name, value)| Some((name.strip_prefix("weights.")?, value.to_string())))
        .collect();
    let Some((_, first)) = slots.first() else { return };
    if slots.iter().all(|(_, value)| value == first) {
        parts.push(first.clone());
        return;
    }
    // A role whose depths agree is said once.
    let mut roles: Vec<(&str, Vec<(&str, &str)>)> = Vec::new();
    for (slot, value) in &slots {
        let (role, depth) = slot.split_once('.').unwrap_or((slot, ""));
        match roles.iter_mut().find(|(r, _)| *r == role) {
            Some((_, depths)) => depths.push((depth, value)),
            None => roles.push((role, vec![(depth, value)])),
        }
    }
    for (role, depths) in roles {
        match depths.split_first() {
            Some(((_, value), rest)) if rest.iter().all(|(_, v)| v == value) => {
                parts.push(format!("{role} {value}"));
            }
            _ => {
                let mut ordered = depths;
                ordered.sort_by_key(|(depth, _)| ["early", "middle", "late"].iter().position(|d| d == depth));
                let values: Vec<&str> = ordered.iter().map(|(_, v)| *v).collect();
                parts.push(format!("{role} {}", values.join("/")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everything_varies() -> Shortener {
        let names = [
            "kv.k",
            "kv.v",
            "prune.keep_kv_heads",
            "prune.keep_ffn",
            "prune.drop_layers",
            "batch",
            "context",
            "threads",
            "ubatch",
            "repack",
            "novel",
        ];
        Shortener { varying: names.iter().map(|n| (*n).to_owned()).collect() }
    }

    #[test]
    fn all_that_varies_is_said_in_order() {
        let text = |t: &str| Value::Text(t.into());
        let candidate = Candidate::default()
            .with("weights.attn.late", text("Q4_K"))
            .with("weights.attn.early", text("Q6_K"))
            .with("weights.attn.middle", text("Q5_K"))
            .with("weights.ffn.early", text("Q4_K"))
            .with("weights.ffn.late", text("Q4_K"))
            .with("weights.embd", text("Q8_0"))
            .with("kv.k", text("q8_0"))
            .with("kv.v", text("f16"))
            .with("prune.keep_ffn", Value::Real(0.92))
            .with("prune.drop_layers", Value::Int(1))
            .with("threads", Value::Int(2))
            .with("repack", Value::Bool(false))
            .with("novel", Value::Int(7));
        assert_eq!(
            everything_varies().short(&candidate),
            "attn Q6_K/Q5_K/Q4_K, embd Q8_0, ffn Q4_K, KV q8_0/f16, FFN −8 %, −1 layer, threads 2, no repack, novel 7"
        );
        let plain = Candidate::default().with("weights.attn", text("Q4_0")).with("weights.ffn", text("Q4_0"));
        assert_eq!(everything_varies().short(&plain), "Q4_0");
    }

    #[test]
    fn constants_are_not_said() {
        let candidate = Candidate::default()
            .with("weights.preset", Value::Text("Q4_K_M".into()))
            .with("threads", Value::Int(2));
        assert_eq!(Shortener::default().short(&candidate), "Q4_K_M");
        assert_eq!(Shortener::default().short(&Candidate::default()), "the only candidate");
    }
}
