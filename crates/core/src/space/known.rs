//! What a space file may say: the parameters, what each takes, and the order of the types.

use super::{Candidate, Config, KvType, ParamKind, Value};

/// Weight types of both engines from few bits to many, with bits per weight (blocks' bytes over their weights, scales included).
///
/// Types of equal size stand in the order of their usual error, the worse first.
pub(crate) const WEIGHT_TYPES: [(&str, f64); 22] = [
    ("IQ2_S", 2.5625),
    ("Q2_K", 2.625),
    ("IQ3_XXS", 3.0625),
    ("Q3_K", 3.4375),
    ("IQ3_S", 3.4375),
    ("Q4_0", 4.5),
    // The torch engine's, for a GPU.
    ("NF4", 4.5),
    ("IQ4_NL", 4.5),
    ("Q4_K", 4.5),
    // The torch engine's: two bytes each of scale and zero for 32 weights.
    ("INT4", 5.0),
    ("Q4_1", 5.0),
    ("Q5_0", 5.5),
    ("Q5_K", 5.5),
    ("Q5_1", 6.0),
    ("Q6_K", 6.5625),
    // One scale a row; activations rounded too, or not.
    ("INT8_DYN", 8.0),
    ("INT8", 8.0),
    ("Q8_0", 8.5),
    // Half of 16 bits, and where they stand. For a GPU.
    ("SPARSE24", 9.0),
    ("BF16", 16.0),
    ("F16", 16.0),
    ("F32", 32.0),
];

/// KV cache types from few bits to many; see [`KvType`].
const KV_TYPES: [KvType; 5] = [KvType::Q4_0, KvType::Q8_0, KvType::Bf16, KvType::F16, KvType::F32];

/// Where the levels of a parameter can be derived from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The machine.
    Host,
    /// What the user will do with the model.
    Workload,
    /// The checkpoint.
    Model,
}

impl Source {
    /// The word in `{ from = "..." }`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Source::Host => "host",
            Source::Workload => "workload",
            Source::Model => "model",
        }
    }
}

/// The values that a parameter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Domain {
    /// A name of [`WEIGHT_TYPES`].
    WeightType,
    /// A name of [`KvType`].
    KvType,
    /// A real number in (0, 1].
    Fraction,
    /// A whole number from `least` to [`Domain::MOST`].
    Count {
        /// The smallest.
        least: i64,
    },
    /// `true` or `false`.
    Switch,
}

impl Domain {
    /// The largest count: far over any machine, and far from overflow.
    pub(crate) const MOST: i64 = 1 << 24;

    /// The domain in words, for an error.
    pub(crate) fn allowed(self) -> String {
        match self {
            Domain::WeightType => names(WEIGHT_TYPES.iter().map(|(name, _)| *name)),
            Domain::KvType => names(KV_TYPES.iter().map(|t| t.name())),
            Domain::Fraction => "a number over 0 and up to 1".to_owned(),
            Domain::Count { least } => format!("an integer from {least} to {}", Self::MOST),
            Domain::Switch => "true or false".to_owned(),
        }
    }

    /// The names that it knows, for a suggestion.
    pub(crate) fn words(self) -> Vec<&'static str> {
        match self {
            Domain::WeightType => WEIGHT_TYPES.iter().map(|(name, _)| *name).collect(),
            Domain::KvType => KV_TYPES.iter().map(|t| t.name()).collect(),
            _ => Vec::new(),
        }
    }

    /// A sorting key for ordinal levels: from few bits to many, from small to large.
    pub(crate) fn rank(self, value: &Value) -> f64 {
        let place = |position: Option<usize>| position.map_or(f64::INFINITY, |i| i as f64);
        match (self, value) {
            (Domain::WeightType, Value::Text(name)) => {
                place(WEIGHT_TYPES.iter().position(|(known, _)| known == name))
            }
            (Domain::KvType, Value::Text(name)) => place(KV_TYPES.iter().position(|t| t.name() == name)),
            (Domain::Switch, Value::Bool(on)) => f64::from(u8::from(*on)),
            (_, value) => value.as_f64().unwrap_or(f64::INFINITY),
        }
    }
}

fn names<'a>(all: impl Iterator<Item = &'a str>) -> String {
    all.collect::<Vec<_>>().join(", ")
}

/// One parameter that a space may declare.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// Dotted name.
    pub key: &'static str,
    /// What it takes.
    pub domain: Domain,
    /// Where it can be derived from, if from anywhere.
    pub source: Option<Source>,
    /// Whether the order goes from the largest level down, so that the last level leaves the model as it is.
    pub descending: bool,
    /// Whether it may be split over the depth of the model.
    pub splits: bool,
}

impl Known {
    /// Ordered or not.
    pub(crate) fn kind(&self) -> ParamKind {
        if self.domain == Domain::Switch { ParamKind::Categorical } else { ParamKind::Ordinal }
    }
}

const fn known(key: &'static str, domain: Domain, source: Option<Source>) -> Known {
    Known { key, domain, source, descending: false, splits: false }
}

/// Every parameter, in the order of a space.
pub(crate) const KNOWN: [Known; 15] = [
    Known { splits: true, ..known("weights.attn", Domain::WeightType, None) },
    Known { splits: true, ..known("weights.ffn", Domain::WeightType, None) },
    known("weights.embd", Domain::WeightType, None),
    known("weights.tie", Domain::Switch, None),
    known("kv.k", Domain::KvType, None),
    known("kv.v", Domain::KvType, None),
    known("prune.keep_kv_heads", Domain::Fraction, Some(Source::Model)),
    known("prune.keep_ffn", Domain::Fraction, Some(Source::Model)),
    Known { descending: true, ..known("prune.drop_layers", Domain::Count { least: 0 }, Some(Source::Model)) },
    known("batch", Domain::Count { least: 1 }, Some(Source::Workload)),
    known("context", Domain::Count { least: 1 }, Some(Source::Workload)),
    known("threads", Domain::Count { least: 1 }, Some(Source::Host)),
    known("ubatch", Domain::Count { least: 1 }, None),
    known("repack", Domain::Switch, None),
    known("gpu_layers", Domain::Count { least: 0 }, Some(Source::Host)),
];

/// A parameter as the reference describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Dotted name.
    pub name: &'static str,
    /// The values that it takes, in words.
    pub values: String,
    /// The value where a space does not declare it, in words.
    pub default: String,
    /// The word of `{ from = "..." }`, where its levels can be derived.
    pub derived_from: Option<&'static str>,
    /// Whether each third of the layers may have its own value.
    pub splits_by_depth: bool,
}

/// Every parameter that a space file may declare, in the order of a space.
pub fn parameters() -> impl Iterator<Item = Parameter> {
    KNOWN.iter().map(|known| Parameter {
        name: known.key,
        values: match known.domain {
            Domain::WeightType => "a weight type".to_owned(),
            domain => domain.allowed(),
        },
        default: default_of(known),
        derived_from: known.source.map(Source::word),
        splits_by_depth: known.splits,
    })
}

/// Weight types of all engines from few bits to many, with bits per weight.
pub fn weight_types() -> impl Iterator<Item = (&'static str, f64)> {
    WEIGHT_TYPES.into_iter()
}

/// What [`Config::from_candidate`] takes for a parameter that a candidate does not name.
fn default_of(known: &Known) -> String {
    let Ok(config) = Config::from_candidate(&Candidate::default()) else { return String::new() };
    match known.key {
        "weights.tie" => config.tie.to_string(),
        "kv.k" => config.kv_k.name().to_owned(),
        "kv.v" => config.kv_v.name().to_owned(),
        "prune.keep_kv_heads" => config.keep_kv_heads.to_string(),
        "prune.keep_ffn" => config.keep_ffn.to_string(),
        "prune.drop_layers" => config.drop_layers.to_string(),
        "batch" => config.batch.to_string(),
        "context" => config.context.to_string(),
        "threads" => config.threads.to_string(),
        "ubatch" => config.ubatch.to_string(),
        "repack" => config.repack.to_string(),
        "gpu_layers" => config.gpu_layers.to_string(),
        // Weights take the engine's floats.
        _ => "F16 (torch: F32)".to_owned(),
    }
}

/// Keys that are no parameters.
pub(crate) const META: [&str; 3] = ["name", "description", "weights.split"];

/// Tables that hold parameters.
pub(crate) const GROUPS: [&str; 3] = ["weights", "kv", "prune"];

/// The thirds of the depth, as [`super::WeightSlot`] names them.
pub(crate) const DEPTHS: [&str; 3] = ["early", "middle", "late"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_stand_from_few_bits_to_many() {
        assert!(WEIGHT_TYPES.windows(2).all(|w| w[0].1 <= w[1].1));
        let bits: Vec<u64> = KV_TYPES.iter().map(|t| t.row_bytes(32)).collect();
        assert!(bits.windows(2).all(|w| w[0] <= w[1]), "{bits:?}");
        assert!(KvType::ALL.iter().all(|t| KV_TYPES.contains(t)));
    }

    #[test]
    fn every_parameter_but_weight_types_has_a_default_that_it_takes() {
        for (known, described) in KNOWN.iter().zip(parameters()) {
            assert_eq!(known.key, described.name);
            let value = match known.domain {
                Domain::WeightType => {
                    assert!(described.default.starts_with("F16"), "{}", known.key);
                    continue;
                }
                Domain::KvType => Value::Text(described.default),
                Domain::Fraction => Value::Real(described.default.parse().unwrap()),
                Domain::Count { .. } => Value::Int(described.default.parse().unwrap()),
                Domain::Switch => Value::Bool(described.default.parse().unwrap()),
            };
            let named = Config::from_candidate(&Candidate::default().with(known.key, value)).unwrap();
            assert_eq!(named, Config::from_candidate(&Candidate::default()).unwrap(), "{}", known.key);
        }
    }

    #[test]
    fn every_known_parameter_is_read_by_config() {
        for known in KNOWN {
            let value = match known.domain {
                Domain::WeightType => Value::Text("Q8_0".into()),
                Domain::KvType => Value::Text("f16".into()),
                Domain::Fraction => Value::Real(1.0),
                Domain::Count { least } => Value::Int(least),
                Domain::Switch => Value::Bool(true),
            };
            let candidate = super::super::Candidate::default().with(known.key, value);
            assert!(super::super::Config::from_candidate(&candidate).is_ok(), "{}", known.key);
        }
    }
}
