//! A GGUF file as a folder of Hugging Face.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;

use safetensors::{Dtype, View};
use serde_json::{Value, json};

use super::{ConvertError, Converted, Order, result_type, rewritten};
use crate::model::gguf::MetaValue;
use crate::model::hf::{CONFIG, TOKENIZER, hf_name};
use crate::model::rope::RopeScaling;
use crate::model::{ArchKind, Architecture, Checkpoint, GgmlType};

/// A tensor whose bytes are made when they are written.
struct Lazy<'a> {
    dtype: Dtype,
    shape: Vec<usize>,
    len: usize,
    make: Box<dyn Fn() -> Cow<'a, [u8]> + 'a>,
}

impl View for Lazy<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        (self.make)()
    }

    fn data_len(&self) -> usize {
        self.len
    }
}

pub(super) fn write(
    checkpoint: &Checkpoint,
    out: &Path,
    asked: Option<GgmlType>,
) -> Result<Converted, ConvertError> {
    let arch = checkpoint.arch();
    if !arch.is_uniform() {
        return Err(ConvertError::Layers);
    }
    let facts = checkpoint.tokenizer()?;
    let order = if arch.kind == ArchKind::Qwen2 { Order::Same } else { Order::ToHalves };
    let mut names: Vec<String> = arch.weight_shapes().map(|(name, _)| name).collect();
    names.push("output_norm.weight".to_owned());
    for i in 0..arch.layers.len() {
        names.extend(["attn_norm.weight", "ffn_norm.weight"].map(|n| format!("blk.{i}.{n}")));
        if arch.qkv_bias {
            names.extend(["q", "k", "v"].map(|n| format!("blk.{i}.attn_{n}.bias")));
        }
    }
    let broken = RefCell::new(None);
    let (mut tensors, mut total, mut dequantized) = (Vec::new(), 0, 0);
    let mut main = GgmlType::F16;
    for name in names {
        let raw = checkpoint.require(&name)?;
        let matrix = raw.dims.len() > 1;
        let ty = result_type(&raw, matrix, asked);
        if name == "token_embd.weight" {
            main = ty;
        }
        dequantized += usize::from(!raw.ty.is_float());
        // What cannot be converted is known before anything is written.
        if !raw.ty.is_float() && cfg!(not(feature = "llama")) {
            super::floats_of(checkpoint, &name, &raw)?;
        }
        let elements = raw.dims.iter().product::<u64>();
        let len = (elements * ty.block_bytes()) as usize;
        total += len as u64;
        let hf = hf_name(&name).unwrap_or_else(|| name.clone());
        let shape = raw.dims.iter().rev().map(|d| *d as usize).collect();
        let broken = &broken;
        let make = move || {
            rewritten(&name, &raw, ty, order, checkpoint).unwrap_or_else(|error| {
                // The writer of safetensors takes no error from a tensor.
                broken.borrow_mut().get_or_insert(error);
                Cow::default()
            })
        };
        tensors.push((hf, Lazy { dtype: dtype(ty), shape, len, make: Box::new(make) }));
    }
    let fail = |path: &Path, cause: String| ConvertError::Write { path: path.to_owned(), cause };
    std::fs::create_dir_all(out).map_err(|e| fail(out, e.to_string()))?;
    let count = tensors.len();
    let weights = out.join("model.safetensors");
    let partial = crate::model::gguf::temp_beside(&weights);
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let written = safetensors::serialize_to_file(tensors, Some(format), &partial);
    let written = match broken.into_inner() {
        Some(error) => Err(error),
        None => written.map_err(|e| fail(&weights, e.to_string())),
    };
    if written.is_err() {
        // On a full disk every byte counts.
        let _ = std::fs::remove_file(&partial);
    }
    written?;
    crate::atomic_file::publish(&partial, &weights).map_err(|e| fail(&weights, e.to_string()))?;
    let mut tokenizer_config = json!({"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false,
        "model_max_length": arch.context_length});
    let name_of = |id: u32| token_name(&facts.json, id);
    if let Checkpoint::Gguf { gguf, .. } = checkpoint {
        let template = gguf.metadata().get("tokenizer.chat_template").and_then(MetaValue::as_str);
        if let Some(template) = template {
            tokenizer_config["chat_template"] = template.into();
        }
    }
    if let Some(end) = facts.end.first().and_then(|id| name_of(*id)) {
        tokenizer_config["eos_token"] = end.into();
    }
    let config = config(checkpoint, arch, main, &facts)?;
    for (name, content) in
        [(CONFIG, &config), (TOKENIZER, &facts.json), ("tokenizer_config.json", &tokenizer_config)]
    {
        let path = out.join(name);
        let text = serde_json::to_string_pretty(content).map_err(|e| fail(&path, e.to_string()))?;
        std::fs::write(&path, text).map_err(|e| fail(&path, e.to_string()))?;
    }
    Ok(Converted { path: out.to_owned(), tensors: count, bytes: total, dequantized })
}

fn dtype(ty: GgmlType) -> Dtype {
    match ty {
        GgmlType::F32 => Dtype::F32,
        GgmlType::Bf16 => Dtype::BF16,
        _ => Dtype::F16,
    }
}

fn token_name(json: &Value, id: u32) -> Option<String> {
    let added = json.get("added_tokens").and_then(Value::as_array)?;
    let of = |t: &&Value| t.get("id").and_then(Value::as_u64) == Some(u64::from(id));
    added.iter().find(of)?.get("content")?.as_str().map(str::to_owned)
}

fn config(
    checkpoint: &Checkpoint,
    arch: &Architecture,
    ty: GgmlType,
    facts: &crate::model::tokenizer::TokenizerFacts,
) -> Result<Value, ConvertError> {
    let first = arch.layers.first().copied().ok_or(ConvertError::Layers)?;
    let (class, kind) = match arch.kind {
        ArchKind::Qwen2 => ("Qwen2ForCausalLM", "qwen2"),
        ArchKind::Llama | ArchKind::Deci => ("LlamaForCausalLM", "llama"),
    };
    let rope = checkpoint.rope();
    let mut config = json!({
        "architectures": [class], "model_type": kind,
        "hidden_size": arch.hidden, "intermediate_size": first.ffn, "num_hidden_layers": arch.layers.len(),
        "num_attention_heads": first.heads, "num_key_value_heads": first.kv_heads, "head_dim": arch.head_dim,
        "vocab_size": arch.vocab, "max_position_embeddings": arch.context_length,
        "rms_norm_eps": checkpoint.eps(), "rope_theta": rope.base, "tie_word_embeddings": arch.tied,
        "hidden_act": "silu", "attention_bias": arch.qkv_bias, "mlp_bias": false,
        "torch_dtype": match ty { GgmlType::F32 => "float32", GgmlType::Bf16 => "bfloat16", _ => "float16" },
        "eos_token_id": facts.end.first(), "bos_token_id": facts.begin,
    });
    config["rope_scaling"] = match rope.scaling {
        RopeScaling::None => Value::Null,
        RopeScaling::Linear { factor } => json!({"rope_type": "linear", "type": "linear", "factor": factor}),
        RopeScaling::Yarn { factor, original, beta_fast, beta_slow, attention } => json!({
            "rope_type": "yarn", "type": "yarn", "factor": factor, "original_max_position_embeddings": original as u64,
            "beta_fast": beta_fast, "beta_slow": beta_slow, "attention_factor": attention
        }),
        RopeScaling::Llama3 { factor, low, high, original } => json!({
            "rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high,
            "original_max_position_embeddings": original as u64
        }),
        RopeScaling::Factors(_) => return Err(ConvertError::Factors),
    };
    Ok(config)
}
