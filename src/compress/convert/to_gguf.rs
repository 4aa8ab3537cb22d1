//! A folder of Hugging Face as a GGUF file.

use std::path::Path;

use super::{ConvertError, Converted, Order, result_type, rewritten};
use crate::compress::CompressError;
use crate::model::gguf::{GgufWriter, MetaValue, Metadata, TensorDecl};
use crate::model::hf::HfModel;
use crate::model::rope::{Rope, RopeScaling};
use crate::model::tokenizer::gguf_entries;
use crate::model::{ArchKind, Checkpoint, GgmlType, float_bytes};

pub(super) fn write(
    checkpoint: &Checkpoint,
    model: &HfModel,
    out: &Path,
    asked: Option<GgmlType>,
) -> Result<Converted, ConvertError> {
    let arch = checkpoint.arch();
    let facts = checkpoint.tokenizer()?;
    let order = if arch.kind == ArchKind::Qwen2 { Order::Same } else { Order::ToNeighbours };
    let mut metadata = architecture(model);
    for (key, value) in gguf_entries(&facts, arch.vocab)? {
        metadata.set(&key, value);
    }
    if let Some(template) = chat_template(model) {
        metadata.set("tokenizer.chat_template", MetaValue::Str(template));
    }
    let mut names = vec!["token_embd.weight".to_owned()];
    for i in 0..arch.layers.len() {
        let biases = ["attn_q.bias", "attn_k.bias", "attn_v.bias"];
        let matrices = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"]
            .map(|n| format!("{n}.weight"));
        let norms = ["attn_norm.weight", "ffn_norm.weight"];
        let all = norms.iter().map(|n| (*n).to_owned()).chain(matrices);
        let all = all.chain(biases.iter().filter(|_| arch.qkv_bias).map(|n| (*n).to_owned()));
        names.extend(all.map(|n| format!("blk.{i}.{n}")));
    }
    names.push("output_norm.weight".to_owned());
    names.extend((!arch.tied).then(|| "output.weight".to_owned()));
    let mut decls = Vec::new();
    for name in &names {
        let raw = checkpoint.require(name)?;
        // llama.cpp wants vectors as F32.
        let ty = if raw.dims.len() > 1 { result_type(&raw, true, asked) } else { GgmlType::F32 };
        decls.push(TensorDecl { name: name.clone(), dims: raw.dims.clone(), ty });
    }
    let factors = llama3_factors(&model.rope, arch.head_dim);
    if let Some(factors) = &factors {
        let dims = vec![factors.len() as u64];
        decls.push(TensorDecl { name: "rope_freqs.weight".to_owned(), dims, ty: GgmlType::F32 });
    }
    let main = decls.first().map_or(GgmlType::F16, |d| d.ty);
    let file_type = match main {
        GgmlType::F32 => 0,
        GgmlType::Bf16 => 32,
        _ => 1,
    };
    metadata.set("general.file_type", MetaValue::U32(file_type));
    let mut writer = GgufWriter::create(out, &metadata, &decls).map_err(CompressError::from)?;
    for (name, decl) in names.iter().zip(&decls) {
        let raw = checkpoint.require(name)?;
        let bytes = rewritten(name, &raw, decl.ty, order, checkpoint)?;
        writer.write(&bytes).map_err(CompressError::from)?;
    }
    if let Some(factors) = &factors {
        writer.write(&float_bytes(factors, GgmlType::F32)).map_err(CompressError::from)?;
    }
    let bytes = writer.finish(true).map_err(CompressError::from)?;
    Ok(Converted { path: out.to_owned(), tensors: decls.len(), bytes, dequantized: 0 })
}

fn architecture(model: &HfModel) -> Metadata {
    let arch = &model.arch;
    let prefix = arch.kind.name();
    let layer = arch.layers.first().copied();
    let mut m = Metadata::default();
    let name = model.folder().file_name().map(|n| n.to_string_lossy().into_owned());
    m.set("general.architecture", MetaValue::Str(prefix.to_owned()));
    m.set("general.name", MetaValue::Str(name.unwrap_or_else(|| model.config.model_type.clone())));
    let numbers = [
        ("block_count", arch.layers.len() as u32),
        ("context_length", arch.context_length),
        ("embedding_length", arch.hidden),
        ("feed_forward_length", layer.map_or(0, |l| l.ffn)),
        ("attention.head_count", layer.map_or(0, |l| l.heads)),
        ("attention.head_count_kv", layer.map_or(0, |l| l.kv_heads)),
        ("attention.key_length", arch.head_dim),
        ("attention.value_length", arch.head_dim),
        ("rope.dimension_count", arch.head_dim),
        ("vocab_size", arch.vocab),
    ];
    let mut set = |key: &str, value: MetaValue| m.set(&format!("{prefix}.{key}"), value);
    for (key, value) in numbers {
        set(key, MetaValue::U32(value));
    }
    set("rope.freq_base", MetaValue::F32(model.rope.base as f32));
    set("attention.layer_norm_rms_epsilon", MetaValue::F32(model.config.eps));
    let text = |s: &str| MetaValue::Str(s.to_owned());
    match &model.rope.scaling {
        RopeScaling::Linear { factor } => {
            set("rope.scaling.type", text("linear"));
            set("rope.scaling.factor", MetaValue::F32(*factor as f32));
        }
        RopeScaling::Yarn { factor, original, beta_fast, beta_slow, attention } => {
            set("rope.scaling.type", text("yarn"));
            set("rope.scaling.factor", MetaValue::F32(*factor as f32));
            set("rope.scaling.original_context_length", MetaValue::U32(*original as u32));
            set("rope.scaling.yarn_beta_fast", MetaValue::F32(*beta_fast as f32));
            set("rope.scaling.yarn_beta_slow", MetaValue::F32(*beta_slow as f32));
            if let Some(attention) = attention {
                set("rope.scaling.attn_factor", MetaValue::F32(*attention as f32));
            }
        }
        // Llama 3's goes into a tensor of factors.
        RopeScaling::None | RopeScaling::Llama3 { .. } | RopeScaling::Factors(_) => {}
    }
    debug_assert_ne!(arch.kind, ArchKind::Deci);
    m
}

/// How much slower each pair turns than without the stretching of Llama 3.
fn llama3_factors(rope: &Rope, head_dim: u32) -> Option<Vec<f32>> {
    if !matches!(rope.scaling, RopeScaling::Llama3 { .. }) {
        return None;
    }
    let plain = Rope { scaling: RopeScaling::None, ..rope.clone() }.frequencies(head_dim).0;
    let scaled = rope.frequencies(head_dim).0;
    Some(plain.iter().zip(scaled).map(|(a, b)| (a / b) as f32).collect())
}

/// The template of a chat, from `tokenizer_config.json` or a file of its own.
fn chat_template(model: &HfModel) -> Option<String> {
    if let Ok(text) = std::fs::read_to_string(model.folder().join("chat_template.jinja")) {
        return Some(text);
    }
    let text = std::fs::read_to_string(model.folder().join("tokenizer_config.json")).ok()?;
    let json: serde_json::Value = serde_json::from_str(&text).ok()?;
    json.get("chat_template")?.as_str().map(str::to_owned)
}
