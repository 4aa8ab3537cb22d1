//! `config.json`: the sizes of the llama family, under whichever name a model calls itself.

use std::path::Path;

use serde_json::Value;

use super::{HfError, HfFault};
use crate::model::rope::{Rope, RopeScaling};
use crate::model::{ArchKind, Architecture, LayerShape, RopePairing};

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
        if act != "silu" {
            return Err(HfFault::Value { key: "hidden_act", found: format!("`{act}`"), expected: "silu" });
        }
        let context = count(json, "max_position_embeddings")?;
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
            eps: number(json, "rms_norm_eps").unwrap_or(1e-6) as f32,
            rope: rope(json, context)?,
            end: tokens(json.get("eos_token_id")),
            begin: tokens(json.get("bos_token_id")).first().copied(),
            model_type,
        })
    }

    /// The architecture in the words of a GGUF file; biases and tying are seen from the tensors.
    #[must_use]
    pub fn architecture(&self, qkv_bias: bool, tied: bool) -> Architecture {
        let layer = LayerShape { heads: self.heads, kv_heads: self.kv_heads, ffn: self.ffn };
        Architecture {
            kind: if qkv_bias { ArchKind::Qwen2 } else { ArchKind::Llama },
            hidden: self.hidden,
            head_dim: self.head_dim,
            layers: vec![layer; self.layers as usize],
            vocab: self.vocab,
            context_length: self.context,
            tied,
            qkv_bias,
            rope_base: self.rope.base as f32,
        }
    }
}

fn optional(json: &Value, key: &'static str) -> Result<Option<u32>, HfFault> {
    let Some(value) = json.get(key).filter(|v| !v.is_null()) else { return Ok(None) };
    match value.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0 && *n < 1 << 28) {
        Some(n) => Ok(Some(n)),
        None => Err(HfFault::Value { key, found: value.to_string(), expected: "a whole number over zero" }),
    }
}

fn count(json: &Value, key: &'static str) -> Result<u32, HfFault> {
    optional(json, key)?.ok_or(HfFault::Missing(key))
}

fn number(json: &Value, key: &str) -> Option<f64> {
    json.get(key)?.as_f64()
}

/// One token or several.
fn tokens(value: Option<&Value>) -> Vec<u32> {
    let one = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
    match value {
        Some(Value::Array(all)) => all.iter().filter_map(one).collect(),
        Some(v) => one(v).into_iter().collect(),
        None => Vec::new(),
    }
}

fn rope(json: &Value, context: u32) -> Result<Rope, HfFault> {
    let none = Value::Null;
    // Transformers 5 gathers everything in `rope_parameters`.
    let scaling = ["rope_scaling", "rope_parameters"]
        .iter()
        .find_map(|key| json.get(*key).filter(|v| v.is_object()))
        .unwrap_or(&none);
    let base = number(json, "rope_theta").or_else(|| number(scaling, "rope_theta")).unwrap_or(10_000.0);
    let kind = ["rope_type", "type"].iter().find_map(|key| scaling.get(*key)?.as_str()).unwrap_or("default");
    let factor = number(scaling, "factor").unwrap_or(1.0);
    let original = number(scaling, "original_max_position_embeddings").unwrap_or_else(|| f64::from(context));
    let scaling = match kind {
        "default" => RopeScaling::None,
        // Its factor grows with the text; up to the trained context it changes nothing, and the engine goes no further.
        "dynamic" => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor },
        "llama3" => RopeScaling::Llama3 {
            factor,
            low: number(scaling, "low_freq_factor").unwrap_or(1.0),
            high: number(scaling, "high_freq_factor").unwrap_or(4.0),
            original,
        },
        "yarn" => RopeScaling::Yarn {
            factor,
            original,
            beta_fast: number(scaling, "beta_fast").unwrap_or(32.0),
            beta_slow: number(scaling, "beta_slow").unwrap_or(1.0),
            attention: number(scaling, "attention_factor"),
        },
        other => {
            return Err(HfFault::Value {
                key: "rope_scaling",
                found: format!("of the type `{other}`"),
                expected: "linear, dynamic, llama3 or yarn",
            });
        }
    };
    Ok(Rope { base, pairing: RopePairing::Halves, scaling })
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
            let arch = config.architecture(label == "qwen2", true);
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
        assert!(bad("hidden_size", "x".into()).contains("a whole number"));
        assert!(bad("num_key_value_heads", 3.into()).contains("3 for 16 heads"));
        assert!(bad("hidden_act", "gelu".into()).contains("`gelu`"));
        assert!(bad("rope_scaling", json!({"type": "longrope"})).contains("`longrope`"));
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
