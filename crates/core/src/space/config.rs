//! The typed reading of a candidate: what `compress`, `engine` and `measure` work from.

use serde::{Deserialize, Serialize};

use super::{Candidate, Value};

/// The storage type of the KV cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KvType {
    /// 32-bit floating point: exact, and twice the usual size.
    F32,
    /// 16-bit floating point, the usual default.
    F16,
    /// bfloat16.
    Bf16,
    /// 8 bits in blocks of 32.
    #[serde(rename = "q8_0")]
    Q8_0,
    /// 4 bits in blocks of 32.
    #[serde(rename = "q4_0")]
    Q4_0,
}

impl KvType {
    /// Every type, widest first.
    pub const ALL: [KvType; 5] = [KvType::F32, KvType::F16, KvType::Bf16, KvType::Q8_0, KvType::Q4_0];

    /// The name used in candidates and by llama.cpp's `--cache-type-k`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            KvType::F32 => "f32",
            KvType::F16 => "f16",
            KvType::Bf16 => "bf16",
            KvType::Q8_0 => "q8_0",
            KvType::Q4_0 => "q4_0",
        }
    }

    /// Bytes that one row of `n` elements takes (quantized types work in blocks of 32).
    #[must_use]
    pub fn row_bytes(self, n: u64) -> u64 {
        match self {
            KvType::F32 => n * 4,
            KvType::F16 | KvType::Bf16 => n * 2,
            KvType::Q8_0 => n.div_ceil(32) * 34,
            KvType::Q4_0 => n.div_ceil(32) * 18,
        }
    }

    /// Elements of a block; the elements of a head must be a multiple of it.
    #[must_use]
    pub fn block_len(self) -> u32 {
        if self.is_quantized() { 32 } else { 1 }
    }

    /// Whether the cache is stored in blocks (a quantized V needs flash attention in llama.cpp).
    #[must_use]
    pub fn is_quantized(self) -> bool {
        matches!(self, KvType::Q8_0 | KvType::Q4_0)
    }
}

/// A group of weights that share one type: a role and, when asked, a third of the depth.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WeightSlot {
    /// `attn`, `ffn` or `embd`.
    pub role: String,
    /// `early`, `middle`, `late`, or none for the whole depth.
    pub depth: Option<String>,
}

/// Which types the weights take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum WeightPlan {
    /// As llama.cpp's own quantizer makes it (`Q4_K_M`), or `as-shipped` for the source file untouched.
    Preset(String),
    /// A ggml type name (`Q4_K`) for each slot.
    PerGroup(Vec<(WeightSlot, String)>),
}

/// A candidate, typed and complete: parameters that the space does not declare have their defaults here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Weight types.
    pub weights: WeightPlan,
    /// Fraction of all KV groups (a KV head with its query heads) that is kept, in (0, 1].
    pub keep_kv_heads: f64,
    /// Fraction of all FFN channels that is kept, in (0, 1].
    pub keep_ffn: f64,
    /// Number of whole layers that are dropped.
    pub drop_layers: u32,
    /// Whether an embedding that the source stores twice is stored once.
    #[serde(default)]
    pub tie: bool,
    /// Type of the K cache.
    pub kv_k: KvType,
    /// Type of the V cache.
    pub kv_v: KvType,
    /// Sequences that are decoded together.
    pub batch: u32,
    /// Context of each sequence, in tokens.
    pub context: u32,
    /// Compute threads.
    pub threads: u32,
    /// Micro-batch of prompt processing, in tokens.
    pub ubatch: u32,
    /// Whether the engine may repack weights for the CPU (faster, but a second copy in memory).
    pub repack: bool,
    /// Layers on the GPU (the output matrix counts as one more); 0: none.
    #[serde(default)]
    pub gpu_layers: u32,
}

/// A candidate that has no typed reading.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ConfigError {
    /// An unknown parameter name.
    #[error("unknown parameter `{0}`")]
    Unknown(String),
    /// A known parameter with a value of the wrong kind or out of range.
    #[error("parameter `{name}` has the value `{found}`, but takes {allowed}")]
    Value {
        /// Parameter name.
        name: String,
        /// The value found.
        found: String,
        /// What would be allowed.
        allowed: &'static str,
    },
}

/// The default of each run-time parameter, used where a candidate is silent.
pub(crate) const DEFAULT_UBATCH: u32 = 512;

impl Config {
    /// Reads a candidate. Parameters that it does not name take: types `F16`, nothing pruned, KV `f16`, batch 1, context 1024,
    /// one thread, micro-batch 512, repacking on, nothing on a GPU.
    ///
    /// # Errors
    /// An unknown name or a value out of its range.
    pub fn from_candidate(candidate: &Candidate) -> Result<Self, ConfigError> {
        let mut config = Config {
            weights: WeightPlan::PerGroup(Vec::new()),
            keep_kv_heads: 1.0,
            keep_ffn: 1.0,
            drop_layers: 0,
            tie: false,
            kv_k: KvType::F16,
            kv_v: KvType::F16,
            batch: 1,
            context: 1024,
            threads: 1,
            ubatch: DEFAULT_UBATCH,
            repack: true,
            gpu_layers: 0,
        };
        let mut groups = Vec::new();
        for (name, value) in &candidate.0 {
            match name.as_str() {
                "weights.preset" => config.weights = WeightPlan::Preset(text(name, value)?),
                "prune.keep_kv_heads" => config.keep_kv_heads = fraction(name, value)?,
                "prune.keep_ffn" => config.keep_ffn = fraction(name, value)?,
                "prune.drop_layers" => config.drop_layers = count(name, value, 0)?,
                "kv.k" => config.kv_k = kv(name, value)?,
                "kv.v" => config.kv_v = kv(name, value)?,
                "batch" => config.batch = count(name, value, 1)?,
                "context" => config.context = count(name, value, 1)?,
                "threads" => config.threads = count(name, value, 1)?,
                "gpu_layers" => config.gpu_layers = count(name, value, 0)?,
                "ubatch" => config.ubatch = count(name, value, 1)?,
                "repack" => config.repack = switch(name, value)?,
                "weights.tie" => config.tie = switch(name, value)?,
                other => match slot(other) {
                    Some(slot) => groups.push((slot, text(name, value)?)),
                    None => return Err(ConfigError::Unknown(other.to_owned())),
                },
            }
        }
        if !groups.is_empty() {
            config.weights = WeightPlan::PerGroup(groups);
        }
        Ok(config)
    }

    /// Whether anything is removed from the model.
    #[must_use]
    pub fn is_pruned(&self) -> bool {
        self.keep_kv_heads < 1.0 || self.keep_ffn < 1.0 || self.drop_layers > 0
    }
}

/// `weights.ffn` or `weights.ffn.late` as a slot.
fn slot(name: &str) -> Option<WeightSlot> {
    let rest = name.strip_prefix("weights.")?;
    let (role, depth) = match rest.split_once('.') {
        Some((role, depth)) => (role, Some(depth)),
        None => (rest, None),
    };
    let known = matches!(role, "attn" | "ffn" | "embd")
        && depth.is_none_or(|d| role != "embd" && matches!(d, "early" | "middle" | "late"));
    known.then(|| WeightSlot { role: role.to_owned(), depth: depth.map(str::to_owned) })
}

fn wrong(name: &str, found: &Value, allowed: &'static str) -> ConfigError {
    ConfigError::Value { name: name.to_owned(), found: found.to_string(), allowed }
}

fn text(name: &str, value: &Value) -> Result<String, ConfigError> {
    match value {
        Value::Text(t) => Ok(t.clone()),
        other => Err(wrong(name, other, "the name of a type")),
    }
}

fn switch(name: &str, value: &Value) -> Result<bool, ConfigError> {
    match value {
        Value::Bool(on) => Ok(*on),
        other => Err(wrong(name, other, "true or false")),
    }
}

fn fraction(name: &str, value: &Value) -> Result<f64, ConfigError> {
    match value.as_f64() {
        Some(x) if x > 0.0 && x <= 1.0 => Ok(x),
        _ => Err(wrong(name, value, "a fraction over 0 and up to 1")),
    }
}

fn count(name: &str, value: &Value, least: u32) -> Result<u32, ConfigError> {
    match value {
        Value::Int(n) => match u32::try_from(*n) {
            Ok(n) if n >= least => Ok(n),
            _ => Err(wrong(name, value, "an integer above the smallest allowed value")),
        },
        other => Err(wrong(name, other, "an integer")),
    }
}

fn kv(name: &str, value: &Value) -> Result<KvType, ConfigError> {
    KvType::ALL
        .into_iter()
        .find(|t| matches!(value, Value::Text(v) if v == t.name()))
        .ok_or_else(|| wrong(name, value, "f32, f16, bf16, q8_0 or q4_0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_is_read_with_defaults() {
        let c = Candidate::default()
            .with("weights.ffn.late", Value::Text("Q4_K".into()))
            .with("kv.k", Value::Text("q8_0".into()))
            .with("prune.keep_ffn", Value::Real(0.9))
            .with("threads", Value::Int(2));
        let config = Config::from_candidate(&c).unwrap();
        assert_eq!(config.kv_k, KvType::Q8_0);
        assert_eq!(config.kv_v, KvType::F16);
        assert_eq!(config.threads, 2);
        assert!(config.is_pruned());
        assert_eq!(
            config.weights,
            WeightPlan::PerGroup(vec![(
                WeightSlot { role: "ffn".into(), depth: Some("late".into()) },
                "Q4_K".into()
            )])
        );
    }

    #[test]
    fn unknown_names_and_values_are_named() {
        let bad = |name: &str, v: Value| {
            Config::from_candidate(&Candidate::default().with(name, v)).unwrap_err().to_string()
        };
        assert_eq!(bad("weights.nose", Value::Int(1)), "unknown parameter `weights.nose`");
        assert!(bad("kv.k", Value::Text("q5".into())).contains("f32, f16, bf16, q8_0 or q4_0"));
        assert!(bad("prune.keep_ffn", Value::Real(1.5)).contains("`1.5`"));
        assert!(bad("batch", Value::Int(0)).contains("`0`"));
    }

    #[test]
    fn kv_rows_have_llama_cpps_sizes() {
        assert_eq!(KvType::F16.row_bytes(192), 384);
        assert_eq!(KvType::Q8_0.row_bytes(192), 204);
        assert_eq!(KvType::Q4_0.row_bytes(192), 108);
    }
}
