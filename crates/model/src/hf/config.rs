//! `config.json`: the sizes of the llama family, under whichever name a model calls itself.

use std::path::Path;

use serde_json::Value;

use super::{HfError, HfFault};
use crate::rope::{Rope, RopeScaling};
use crate::{ArchKind, Architecture, LayerShape, RopePairing};

/// Model types that are the llama graph. The last ones are labels of Sheikh-2.5-Coder, which has Qwen2.5-Coder-3B's shape.
const FAMILY: [&str; 6] = ["llama", "qwen2", "mistral", "sheikh_coder", "sheikh-coder", "minimax_m2"];

/// What a configuration says.
#[derive(Clone, Debug, PartialEq)]
pub struct HfConfig {
    /// `model_type`.
    pub model_type: String,
    /// Width of the residual stream.
    pub hidden: u32,
    /// FFN channels.
    pub ffn: u32,
    /// Layers.
    pub layers: u32,
    /// Query heads.
    pub heads: u32,
    /// KV heads.
    pub kv_heads: u32,
    /// Elements of a head.
    pub head_dim: u32,
    /// Rows of the embedding.
    pub vocab: u32,
    /// Longest context that the model was trained for, in tokens.
    pub context: u32,
    /// Whether the embeddings serve as output matrix.
    pub tied: bool,
    /// Whether the configuration itself says that they do not.
    pub states_untied: bool,
    /// Added to the mean square before its root is taken.
    pub eps: f32,
    /// The rotary embedding.
    pub rope: Rope,
    /// Tokens that end a text.
    pub end: Vec<u32>,
    /// The token that begins a text.
    pub begin: Option<u32>,
    /// Whether the configuration itself says that the attention's projections have biases, or have none.
    pub attention_bias: Option<bool>,
    /// Whether it says so of the FFN's projections.
    pub mlp_bias: Option<bool>,
    /// What the user should know of how fields were read.
    pub remarks: Vec<String>,
}

impl HfConfig {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, is no JSON, or is of a model that we cannot run.
    pub fn read(path: &Path) -> Result<Self, HfError> {
        let folder = path.parent().unwrap_or(path);
        let text = std::fs::read_to_string(path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => HfFault::NoFolder(super::CONFIG).at(folder),
            _ => HfFault::Read(e).at(path),
        })?;
        let json = serde_json::from_str(&text).map_err(|e| HfFault::Json(e).at(path))?;
        Self::parse(&json).map_err(|fault| fault.at(path))
    }

    /// Reads the configuration itself.
    ///
    /// # Errors
    /// As [`HfConfig::read`].
    pub fn parse(json: &Value) -> Result<Self, HfFault> {
        let model_type = json.get("model_type").and_then(Value::as_str).unwrap_or_default().to_owned();
        if !FAMILY.contains(&model_type.as_str()) {
            return Err(HfFault::Unknown { found: model_type, known: FAMILY.join(", ") });
        }
        // A label of a mixture of experts on a model that has none says nothing; experts that are there do.
        let experts = ["num_local_experts", "num_experts", "n_routed_experts"]
            .iter()
            .find_map(|key| json.get(*key)?.as_u64())
            .unwrap_or(0);
        if experts > 1 {
            return Err(HfFault::Experts(experts));
        }
        super::fields::account(json)?;
        let hidden = count(json, "hidden_size")?;
        let heads = count(json, "num_attention_heads")?;
        let kv_heads = optional(json, "num_key_value_heads")?.unwrap_or(heads);
        let head_dim = optional(json, "head_dim")?.unwrap_or(hidden / heads);
        if !heads.is_multiple_of(kv_heads) {
            let found = format!("{kv_heads} for {heads} heads");
            return Err(HfFault::Value {
                key: "num_key_value_heads",
                found,
                expected: "heads in equal groups",
            });
        }
        if head_dim == 0 || !head_dim.is_multiple_of(2) {
            let found = head_dim.to_string();
            return Err(HfFault::Value { key: "head_dim", found, expected: "an even number over zero" });
        }
        let act = json.get("hidden_act").and_then(Value::as_str).unwrap_or("silu");
        if act != "silu" && act != "swish" {
            return Err(HfFault::Value { key: "hidden_act", found: format!("`{act}`"), expected: "silu" });
        }
        let stated = count(json, "max_position_embeddings")?;
        let mut remarks = Vec::new();
        let context = match window(json)? {
            // Up to the window the model attends to everything, as our graph does; beyond it they differ.
            Some(window) if window < stated => {
                remarks.push(format!(
                    "the model attends to the last {window} tokens only (`sliding_window`): its context is taken as {window} tokens, not {stated}"
                ));
                window
            }
            _ => stated,
        };
        let tied = json.get("tie_word_embeddings").and_then(Value::as_bool);
        Ok(Self {
            hidden,
            ffn: count(json, "intermediate_size")?,
            layers: count(json, "num_hidden_layers")?,
            heads,
            kv_heads,
            head_dim,
            vocab: count(json, "vocab_size")?,
            context,
            tied: tied.unwrap_or(false),
            states_untied: tied == Some(false),
            eps: number(json, "rms_norm_eps")?.unwrap_or(1e-6) as f32,
            rope: rope(json, stated, head_dim, &mut remarks)?,
            end: tokens(json.get("eos_token_id")),
            begin: tokens(json.get("bos_token_id")).first().copied(),
            attention_bias: json.get("attention_bias").and_then(Value::as_bool),
            mlp_bias: json.get("mlp_bias").and_then(Value::as_bool),
            remarks,
            model_type,
        })
    }

    /// The architecture in the words of a GGUF file; biases and tying are seen from the tensors.
    #[must_use]
    pub fn architecture(&self, biases: Biases, tied: bool) -> Architecture {
        let layer = LayerShape { heads: self.heads, kv_heads: self.kv_heads, ffn: self.ffn };
        Architecture {
            kind: self.kind(biases),
            hidden: self.hidden,
            head_dim: self.head_dim,
            layers: vec![layer; self.layers as usize],
            vocab: self.vocab,
            context_length: self.context,
            tied,
            qkv_bias: biases.qkv,
            rope_base: self.rope.base as f32,
        }
    }

    /// The graph that computes the model. llama.cpp's `qwen2` takes the width of the attention from the hidden size, has biases on Q, K
    /// and V alone and no factors of single frequencies; its `llama` has all of these.
    fn kind(&self, biases: Biases) -> ArchKind {
        let plain_width = self.heads.checked_mul(self.head_dim) == Some(self.hidden);
        let plain_rope = matches!(self.rope.scaling, RopeScaling::None | RopeScaling::Linear { .. })
            || self.rope.scaling.is_plain_yarn();
        if biases.qkv && !biases.others && plain_width && plain_rope {
            ArchKind::Qwen2
        } else {
            ArchKind::Llama
        }
    }
}

/// Which biases a checkpoint has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Biases {
    /// On Q, K or V of any layer.
    pub qkv: bool,
    /// On the output projection or the FFN of any layer.
    pub others: bool,
}

/// The tokens that a sliding window lets a position attend to; none where there is no window.
fn window(json: &Value) -> Result<Option<u32>, HfFault> {
    let layers = json.get("layer_types").and_then(Value::as_array);
    let other = layers.into_iter().flatten().find(|l| {
        let name = l.as_str().unwrap_or_default();
        name != "full_attention" && name != "sliding_attention"
    });
    if let Some(other) = other {
        let found = format!("{other} in one layer");
        return Err(HfFault::Value {
            key: "layer_types",
            found,
            expected: "full_attention or sliding_attention",
        });
    }
    let slides = layers.map(|all| all.iter().any(|l| l == "sliding_attention"));
    // Qwen2 states a window and says beside it whether it is used.
    let used = json.get("use_sliding_window").and_then(Value::as_bool);
    if slides == Some(false) || (slides.is_none() && used == Some(false)) {
        return Ok(None);
    }
    optional(json, "sliding_window")
}

fn optional(json: &Value, key: &'static str) -> Result<Option<u32>, HfFault> {
    let Some(value) = json.get(key).filter(|v| !v.is_null()) else { return Ok(None) };
    match value.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0 && *n < 1 << 28) {
        Some(n) => Ok(Some(n)),
        None => {
            Err(HfFault::Value { key, found: value.to_string(), expected: "an integer greater than zero" })
        }
    }
}

fn count(json: &Value, key: &'static str) -> Result<u32, HfFault> {
    optional(json, key)?.ok_or(HfFault::Missing(key))
}

fn number(json: &Value, key: &'static str) -> Result<Option<f64>, HfFault> {
    match json.get(key).filter(|v| !v.is_null()) {
        None => Ok(None),
        Some(value) => match value.as_f64().filter(|x| x.is_finite()) {
            Some(x) => Ok(Some(x)),
            None => Err(HfFault::Value { key, found: value.to_string(), expected: "a number" }),
        },
    }
}

/// One token or several.
pub(super) fn tokens(value: Option<&Value>) -> Vec<u32> {
    let one = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
    match value {
        Some(Value::Array(all)) => all.iter().filter_map(one).collect(),
        Some(v) => one(v).into_iter().collect(),
        None => Vec::new(),
    }
}

/// Keys of `rope_scaling` or `rope_parameters` that are read.
const ROPE_READ: &[&str] = &[
    "rope_type",
    "type",
    "rope_theta",
    "factor",
    "original_max_position_embeddings",
    "low_freq_factor",
    "high_freq_factor",
    "beta_fast",
    "beta_slow",
    "attention_factor",
    "mscale",
    "mscale_all_dim",
    "truncate",
    "short_factor",
    "long_factor",
];

fn rope(json: &Value, context: u32, head_dim: u32, remarks: &mut Vec<String>) -> Result<Rope, HfFault> {
    let none = Value::Null;
    // Transformers 5 gathers everything in `rope_parameters`.
    let scaling = ["rope_scaling", "rope_parameters"]
        .iter()
        .find_map(|key| json.get(*key).filter(|v| v.is_object()))
        .unwrap_or(&none);
    for (key, value) in scaling.as_object().into_iter().flatten() {
        let whole = key == "partial_rotary_factor" && value.as_f64() == Some(1.0);
        if !ROPE_READ.contains(&key.as_str()) && !value.is_null() && !whole {
            return Err(HfFault::Fields { fields: vec![format!("`rope_scaling.{key}`: {value}")] });
        }
    }
    let base = match number(json, "rope_theta")? {
        Some(base) => base,
        None => number(scaling, "rope_theta")?.unwrap_or(10_000.0),
    };
    let kind = ["rope_type", "type"].iter().find_map(|key| scaling.get(*key)?.as_str()).unwrap_or("default");
    let needed = |key: &'static str| number(scaling, key)?.ok_or(HfFault::Missing(key));
    let original = match number(scaling, "original_max_position_embeddings")? {
        Some(n) => n,
        None => number(json, "original_max_position_embeddings")?.unwrap_or_else(|| f64::from(context)),
    };
    let stretch = || Ok(number(scaling, "factor")?.unwrap_or(f64::from(context) / original));
    let scaling = match kind {
        "default" | "none" => RopeScaling::None,
        // Its factor grows with the text; up to the trained context it changes nothing, and the engines go no further.
        "dynamic" => {
            let factor = needed("factor")?;
            remarks.push(format!(
                "the rotary scaling `dynamic` (factor {factor}) changes nothing up to {context} tokens; longer contexts are left out"
            ));
            RopeScaling::None
        }
        "linear" => RopeScaling::Linear { factor: needed("factor")? },
        "llama3" => RopeScaling::Llama3 {
            factor: needed("factor")?,
            low: number(scaling, "low_freq_factor")?.unwrap_or(1.0),
            high: number(scaling, "high_freq_factor")?.unwrap_or(4.0),
            original,
        },
        "yarn" => {
            let factor = stretch()?;
            let by = |m: f64| if factor > 1.0 { 0.1 * m * factor.ln() + 1.0 } else { 1.0 };
            let scales = (number(scaling, "mscale")?, number(scaling, "mscale_all_dim")?);
            let inferred = match scales {
                (Some(m), Some(all)) if m != 0.0 && all != 0.0 => Some(by(m) / by(all)),
                _ => None,
            };
            RopeScaling::Yarn {
                factor,
                original,
                beta_fast: number(scaling, "beta_fast")?.unwrap_or(32.0),
                beta_slow: number(scaling, "beta_slow")?.unwrap_or(1.0),
                attention: number(scaling, "attention_factor")?.or(inferred),
                truncate: scaling.get("truncate").and_then(Value::as_bool).unwrap_or(true),
            }
        }
        "longrope" | "su" => {
            let factor = stretch()?;
            let usual = if factor > 1.0 { (1.0 + factor.ln() / original.ln()).sqrt() } else { 1.0 };
            RopeScaling::LongRope {
                short: factors(scaling, "short_factor", head_dim)?,
                long: factors(scaling, "long_factor", head_dim)?,
                original,
                attention: number(scaling, "attention_factor")?.unwrap_or(usual),
            }
        }
        other => {
            return Err(HfFault::Value {
                key: "rope_scaling",
                found: format!("of the type `{other}`"),
                expected: "linear, dynamic, llama3, yarn or longrope",
            });
        }
    };
    Ok(Rope { base, pairing: RopePairing::Halves, scaling })
}

/// A list with a divisor for each frequency of a head.
fn factors(scaling: &Value, key: &'static str, head_dim: u32) -> Result<Vec<f32>, HfFault> {
    let all = scaling.get(key).ok_or(HfFault::Missing(key))?;
    let read: Option<Vec<f32>> =
        all.as_array().and_then(|a| a.iter().map(|v| v.as_f64().map(|x| x as f32)).collect());
    match read.filter(|f| f.len() == head_dim as usize / 2 && f.iter().all(|x| *x > 0.0)) {
        Some(factors) => Ok(factors),
        None => {
            let found = format!("a list of {}", all.as_array().map_or(0, Vec::len));
            Err(HfFault::Value { key, found, expected: "a number over zero for each pair of a head" })
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sheikh() -> Value {
        json!({
            "model_type": "sheikh_coder", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 36,
            "num_attention_heads": 16, "num_key_value_heads": 2, "vocab_size": 32000, "max_position_embeddings": 32768,
            "rope_theta": 1e6, "tie_word_embeddings": true, "eos_token_id": [1, 2], "num_local_experts": 0
        })
    }

    #[test]
    fn a_config_of_its_own_kind_is_read_as_the_llama_family() {
        for label in ["sheikh_coder", "minimax_m2", "qwen2", "llama"] {
            let mut json = sheikh();
            json["model_type"] = label.into();
            let config = HfConfig::parse(&json).unwrap();
            assert_eq!((config.head_dim, config.kv_heads, config.vocab), (128, 2, 32000));
            assert_eq!((config.tied, config.end.as_slice(), config.rope.base), (true, &[1, 2][..], 1e6));
            let arch = config.architecture(Biases { qkv: label == "qwen2", others: false }, true);
            assert_eq!((arch.layers.len(), arch.layers[35].ffn), (36, 8192));
        }
    }

    #[test]
    fn what_cannot_be_run_is_named() {
        let bad = |key: &str, value: Value| {
            let mut json = sheikh();
            json[key] = value;
            HfConfig::parse(&json).unwrap_err().to_string()
        };
        assert!(
            bad("model_type", "mamba".into())
                .starts_with("the model type `mamba` is not known; known are llama")
        );
        assert!(bad("num_local_experts", 8.into()).contains("8 experts"));
        assert_eq!(bad("hidden_size", Value::Null), "lacks `hidden_size`");
        assert!(bad("hidden_size", "x".into()).contains("an integer"));
        assert!(bad("num_key_value_heads", 3.into()).contains("3 for 16 heads"));
        assert!(bad("hidden_act", "gelu".into()).contains("`gelu`"));
        assert!(bad("rope_scaling", json!({"type": "spiral"})).contains("`spiral`"));
        assert!(bad("rope_scaling", json!({"type": "longrope"})).contains("short_factor"));
        assert!(bad("rope_scaling", json!({"type": "linear"})).contains("lacks `factor`"));
        assert!(bad("rope_scaling", json!({"type": "yarn", "twist": 2})).contains("`rope_scaling.twist`: 2"));
        assert!(bad("rms_norm_eps", json!("1e-6")).contains("expected a number"));
    }

    #[test]
    fn a_sliding_window_bounds_the_context_where_it_is_used() {
        let context = |fields: Value| {
            let mut json = sheikh();
            for (key, value) in fields.as_object().unwrap() {
                json[key] = value.clone();
            }
            let config = HfConfig::parse(&json).unwrap();
            (config.context, config.remarks.len())
        };
        assert_eq!(context(json!({"sliding_window": 4096})), (4096, 1));
        assert_eq!(context(json!({"sliding_window": 4096, "use_sliding_window": false})), (32768, 0));
        assert_eq!(context(json!({"sliding_window": 65536})), (32768, 0));
        assert_eq!(context(json!({"sliding_window": null})), (32768, 0));
        let layers = |kind: &str| json!({"sliding_window": 4096, "layer_types": vec![kind; 36]});
        assert_eq!(context(layers("full_attention")), (32768, 0));
        assert_eq!(context(layers("sliding_attention")), (4096, 1));
    }

    #[test]
    fn the_graph_is_the_one_that_has_a_place_for_everything() {
        let kind = |fields: Value, biases: Biases| {
            let mut json = sheikh();
            for (key, value) in fields.as_object().unwrap() {
                json[key] = value.clone();
            }
            HfConfig::parse(&json).unwrap().architecture(biases, true).kind
        };
        let qkv = Biases { qkv: true, others: false };
        assert_eq!(kind(json!({}), qkv), ArchKind::Qwen2);
        assert_eq!(kind(json!({}), Biases::default()), ArchKind::Llama);
        assert_eq!(kind(json!({}), Biases { qkv: true, others: true }), ArchKind::Llama);
        assert_eq!(kind(json!({"head_dim": 64}), qkv), ArchKind::Llama);
        assert_eq!(kind(json!({"rope_scaling": {"type": "yarn", "factor": 4.0}}), qkv), ArchKind::Qwen2);
        let llama3 = json!({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}});
        assert_eq!(kind(llama3, qkv), ArchKind::Llama);
    }

    #[test]
    fn both_spellings_of_rope_scaling_are_read() {
        for (key, kind) in [("rope_scaling", "type"), ("rope_parameters", "rope_type")] {
            let mut json = sheikh();
            json[key] = json!({kind: "yarn", "factor": 4.0, "original_max_position_embeddings": 8192});
            let config = HfConfig::parse(&json).unwrap();
            assert!(
                matches!(config.rope.scaling, RopeScaling::Yarn { factor, original, .. } if factor == 4.0 && original == 8192.0)
            );
        }
    }
}
