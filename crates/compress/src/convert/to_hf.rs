//! A GGUF file as a Hugging Face model directory.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;

use safetensors::{Dtype, View};
use serde_json::{Value, json};

use super::{ConvertError, Converted, Order, result_type, rewritten};
use autotune_model::gguf::{Gguf, MetaValue, Metadata};
use autotune_model::hf::{CONFIG, TOKENIZER, hf_name};
use autotune_model::rope::{Rope, RopeScaling};
use autotune_model::{ArchKind, Architecture, Checkpoint, GgmlType};

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
    let biases = Biases::of(checkpoint);
    if let Checkpoint::Gguf { gguf, .. } = checkpoint {
        account_for_keys(gguf, arch)?;
    }
    let mut names: Vec<String> = arch.weight_shapes().map(|(name, _)| name).collect();
    names.push("output_norm.weight".to_owned());
    for i in 0..arch.layers.len() {
        names.extend(["attn_norm.weight", "ffn_norm.weight"].map(|n| format!("blk.{i}.{n}")));
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
    for (name, width) in biases.names(arch) {
        let raw = checkpoint.find(&name);
        let ty = raw.as_ref().map_or(GgmlType::F32, |raw| result_type(raw, false, asked));
        let len = (width * ty.block_bytes()) as usize;
        total += len as u64;
        let hf = hf_name(&name).unwrap_or_else(|| name.clone());
        let broken = &broken;
        // A class of transformers has all biases of a kind or none: those that the file lacks are zeros.
        let make = move || match &raw {
            None => Cow::Owned(vec![0; len]),
            Some(raw) => rewritten(&name, raw, ty, order, checkpoint).unwrap_or_else(|error| {
                broken.borrow_mut().get_or_insert(error);
                Cow::default()
            }),
        };
        tensors.push((hf, Lazy { dtype: dtype(ty), shape: vec![width as usize], len, make: Box::new(make) }));
    }
    let fail = |path: &Path, cause: String| ConvertError::Write { path: path.to_owned(), cause };
    // What config.json cannot say is known before anything is written.
    let config = config(checkpoint, arch, biases, main, &facts)?;
    std::fs::create_dir_all(out).map_err(|e| fail(out, e.to_string()))?;
    let count = tensors.len();
    let weights = out.join("model.safetensors");
    let partial = autotune_core::atomic_file::temp_beside(&weights);
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
    autotune_core::atomic_file::publish(&partial, &weights).map_err(|e| fail(&weights, e.to_string()))?;
    let mut tokenizer_config = json!({"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false,
        "model_max_length": arch.context_length});
    let name_of = |id: u32| token_name(&facts.json, id);
    if let Checkpoint::Gguf { gguf, .. } = checkpoint
        && let Some(templates) = chat_templates(gguf.metadata())
    {
        tokenizer_config["chat_template"] = templates;
    }
    if let Some(end) = facts.end.first().and_then(|id| name_of(*id)) {
        tokenizer_config["eos_token"] = end.into();
    }
    for (name, content) in
        [(CONFIG, &config), (TOKENIZER, &facts.json), ("tokenizer_config.json", &tokenizer_config)]
    {
        let path = out.join(name);
        let text = serde_json::to_string_pretty(content).map_err(|e| fail(&path, e.to_string()))?;
        std::fs::write(&path, text).map_err(|e| fail(&path, e.to_string()))?;
    }
    let remarks = Vec::new();
    Ok(Converted { path: out.to_owned(), tensors: count, bytes: total, dequantized, remarks })
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

/// Which biases the folder's class has, and with that the class.
#[derive(Clone, Copy, Debug)]
struct Biases {
    qkv: bool,
    output: bool,
    mlp: bool,
}

impl Biases {
    fn of(checkpoint: &Checkpoint) -> Self {
        let any = |roles: &[&str]| {
            (0..checkpoint.arch().layers.len())
                .any(|i| roles.iter().any(|r| checkpoint.find(&format!("blk.{i}.{r}.bias")).is_some()))
        };
        let (qkv, output) = (any(&["attn_q", "attn_k", "attn_v"]), any(&["attn_output"]));
        Self { qkv, output, mlp: any(&["ffn_gate", "ffn_up", "ffn_down"]) }
    }

    /// Whether the class is Qwen2's, which has biases on Q, K and V and no others; Llama's has all of the attention or none.
    fn is_qwen2(self, kind: ArchKind) -> bool {
        !self.output && !self.mlp && (self.qkv || kind == ArchKind::Qwen2)
    }

    /// The biases that the class has, with their elements.
    fn names(self, arch: &Architecture) -> Vec<(String, u64)> {
        let attention = self.qkv || self.output || self.is_qwen2(arch.kind);
        let output = attention && !self.is_qwen2(arch.kind);
        let mut names = Vec::new();
        for (i, layer) in arch.layers.iter().enumerate() {
            let has = |role: &str| match role {
                "attn_output" => output,
                role if role.starts_with("attn") => attention,
                _ => self.mlp,
            };
            let all = arch.bias_widths(*layer).into_iter().filter(|(role, _)| has(role));
            names.extend(all.map(|(role, width)| (format!("blk.{i}.{role}.bias"), width)));
        }
        names
    }
}

/// Refuses keys of the architecture that `config.json` cannot say and that may change what is computed.
fn account_for_keys(gguf: &Gguf, arch: &Architecture) -> Result<(), ConvertError> {
    const KNOWN: &[&str] = &[
        "block_count",
        "context_length",
        "embedding_length",
        "feed_forward_length",
        "attention.head_count",
        "attention.head_count_kv",
        "attention.key_length",
        "attention.value_length",
        "attention.layer_norm_rms_epsilon",
        "rope.dimension_count",
        "rope.freq_base",
        "rope.scale_linear",
        "rope.scaling.type",
        "rope.scaling.factor",
        "rope.scaling.original_context_length",
        "rope.scaling.attn_factor",
        "rope.scaling.finetuned",
        // Not read by the graphs that we know.
        "rope.scaling.yarn_beta_fast",
        "rope.scaling.yarn_beta_slow",
        "vocab_size",
        "attention.causal",
        "tensor_data_layout",
        "use_parallel_residual",
    ];
    let prefix = format!("{}.", arch.kind.name());
    let zero = |value: &MetaValue| value.as_u64() == Some(0) || *value == MetaValue::Bool(false);
    let changes = |key: &str, value: &MetaValue| match key {
        "attention.causal" => *value != MetaValue::Bool(true),
        "use_parallel_residual" => !zero(value),
        _ => !KNOWN.contains(&key) && !zero(value),
    };
    let keys: Vec<String> = gguf
        .metadata()
        .iter()
        .filter(|(key, value)| key.strip_prefix(&prefix).is_some_and(|key| changes(key, value)))
        .map(|(key, _)| key.to_owned())
        .collect();
    if keys.is_empty() { Ok(()) } else { Err(ConvertError::Keys { keys }) }
}

/// The templates of a chat as `tokenizer_config.json` has them: one text, or a list of named ones.
fn chat_templates(metadata: &Metadata) -> Option<Value> {
    const KEY: &str = "tokenizer.chat_template";
    let default = metadata.get(KEY).and_then(MetaValue::as_str);
    let named: Vec<Value> = metadata
        .iter()
        .filter_map(|(key, value)| {
            let name = key.strip_prefix(KEY)?.strip_prefix('.')?;
            Some(json!({"name": name, "template": value.as_str()?}))
        })
        .collect();
    if named.is_empty() {
        return default.map(Value::from);
    }
    let default = default.map(|text| json!({"name": "default", "template": text}));
    Some(Value::Array(default.into_iter().chain(named).collect()))
}

fn config(
    checkpoint: &Checkpoint,
    arch: &Architecture,
    biases: Biases,
    ty: GgmlType,
    facts: &autotune_model::tokenizer::TokenizerFacts,
) -> Result<Value, ConvertError> {
    let first = arch.layers.first().copied().ok_or(ConvertError::Layers)?;
    let qwen2 = biases.is_qwen2(arch.kind);
    let (class, kind) = if qwen2 { ("Qwen2ForCausalLM", "qwen2") } else { ("LlamaForCausalLM", "llama") };
    let rope = checkpoint.rope();
    let mut config = json!({
        "architectures": [class], "model_type": kind,
        "hidden_size": arch.hidden, "intermediate_size": first.ffn, "num_hidden_layers": arch.layers.len(),
        "num_attention_heads": first.heads, "num_key_value_heads": first.kv_heads, "head_dim": arch.head_dim,
        "vocab_size": arch.vocab, "max_position_embeddings": arch.context_length,
        "rms_norm_eps": checkpoint.eps(), "rope_theta": rope.base, "tie_word_embeddings": arch.tied,
        "hidden_act": "silu", "attention_bias": biases.qkv || biases.output || qwen2, "mlp_bias": biases.mlp,
        "torch_dtype": match ty { GgmlType::F32 => "float32", GgmlType::Bf16 => "bfloat16", _ => "float16" },
        "eos_token_id": match facts.end.as_slice() { [] => Value::Null, [one] => json!(one), all => json!(all) },
        "bos_token_id": facts.begin,
    });
    config["rope_scaling"] = rope_scaling(&rope, arch)?;
    Ok(config)
}

/// The scaling of the rotary embedding as `config.json` says it.
fn rope_scaling(rope: &Rope, arch: &Architecture) -> Result<Value, ConvertError> {
    let llama3 = |factor: f64, low: f64, high: f64, original: f64| {
        json!({
            "rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high,
            "original_max_position_embeddings": original as u64
        })
    };
    Ok(match &rope.scaling {
        RopeScaling::None => Value::Null,
        RopeScaling::Linear { factor } => json!({"rope_type": "linear", "type": "linear", "factor": factor}),
        RopeScaling::Yarn { factor, original, beta_fast, beta_slow, attention, truncate } => json!({
            "rope_type": "yarn", "type": "yarn", "factor": factor, "original_max_position_embeddings": *original as u64,
            "beta_fast": beta_fast, "beta_slow": beta_slow, "attention_factor": attention, "truncate": truncate
        }),
        RopeScaling::Llama3 { factor, low, high, original } => llama3(*factor, *low, *high, *original),
        RopeScaling::LongRope { short, long, original, attention } => json!({
            "rope_type": "longrope", "short_factor": short, "long_factor": long, "attention_factor": attention,
            "original_max_position_embeddings": *original as u64
        }),
        RopeScaling::Factors { factors, attention } => {
            // The factors of Llama 3.1 to 3.3 by their one setting; what it does not give is not known.
            const TOLERANCE: f32 = 1e-3;
            let factor = f64::from(factors.iter().copied().fold(1.0f32, f32::max));
            let (low, high, original) = (1.0, 4.0, 8192.0);
            let known = Rope { scaling: RopeScaling::Llama3 { factor, low, high, original }, ..rope.clone() };
            let near = |(a, b): (&f32, &f32)| (a / b - 1.0).abs() < TOLERANCE;
            let given = known.divisors(arch.head_dim);
            if *attention != 1.0 || given.len() != factors.len() || !given.iter().zip(factors).all(near) {
                return Err(ConvertError::Factors);
            }
            llama3(factor, low, high, original)
        }
    })
}
