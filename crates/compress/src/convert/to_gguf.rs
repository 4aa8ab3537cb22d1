//! A folder of Hugging Face as a GGUF file.

use std::path::Path;

use serde_json::Value;

use super::{ConvertError, Converted, Order, result_type, rewritten};
use crate::CompressError;
use autotune_model::gguf::{
    DEFAULT_ALIGNMENT, GgufWriter, MetaArray, MetaValue, Metadata, TensorDecl, header_bytes, padded,
};
use autotune_model::hf::{HfFault, HfModel, hf_name};
use autotune_model::rope::{Rope, RopeScaling, yarn_temperature};
use autotune_model::tokenizer::gguf_entries;
use autotune_model::{ArchKind, Checkpoint, GgmlType, float_bytes};

pub(super) fn write(
    checkpoint: &Checkpoint,
    model: &HfModel,
    out: &Path,
    asked: Option<GgmlType>,
) -> Result<Converted, ConvertError> {
    let order = if checkpoint.arch().kind == ArchKind::Qwen2 { Order::Same } else { Order::ToNeighbours };
    let Header { metadata, names, decls, factors } = header(checkpoint, model, asked)?;
    let mut writer = GgufWriter::create(out, &metadata, &decls).map_err(CompressError::from)?;
    for (name, decl) in names.iter().zip(&decls) {
        let raw = checkpoint.require(name)?;
        let bytes = rewritten(name, &raw, decl.ty, order, checkpoint)?;
        writer.write(&bytes).map_err(CompressError::from)?;
    }
    for (_, factors) in &factors {
        writer.write(&float_bytes(factors, GgmlType::F32)).map_err(CompressError::from)?;
    }
    let bytes = writer.finish(true).map_err(CompressError::from)?;
    let remarks = model.config.remarks.clone();
    Ok(Converted { path: out.to_owned(), tensors: decls.len(), bytes, dequantized: 0, remarks })
}

/// The file that [`write()`] would make, with a hole in place of the weights.
pub(super) fn outline(checkpoint: &Checkpoint, model: &HfModel, out: &Path) -> Result<(), ConvertError> {
    let Header { metadata, decls, .. } = header(checkpoint, model, None)?;
    let head = header_bytes(&metadata, &decls, DEFAULT_ALIGNMENT);
    let data: u64 = decls.iter().map(|d| padded(d.bytes().unwrap_or(0), DEFAULT_ALIGNMENT)).sum();
    let written = std::fs::File::create(out).and_then(|mut file| {
        std::io::Write::write_all(&mut file, &head)?;
        file.set_len((head.len() as u64).saturating_add(data))
    });
    written.map_err(|e| ConvertError::Write { path: out.to_owned(), cause: e.to_string() })
}

/// What comes before the weights, and what they are made from.
struct Header {
    metadata: Metadata,
    /// Tensors of the checkpoint, in order.
    names: Vec<String>,
    /// Their declarations, those of the factors behind them.
    decls: Vec<TensorDecl>,
    factors: Vec<(&'static str, Vec<f32>)>,
}

fn header(checkpoint: &Checkpoint, model: &HfModel, asked: Option<GgmlType>) -> Result<Header, ConvertError> {
    let arch = checkpoint.arch();
    let facts = checkpoint.tokenizer()?;
    let mut metadata = architecture(model);
    for (key, value) in gguf_entries(&facts, arch.vocab)? {
        metadata.set(&key, value);
    }
    for (key, value) in chat_templates(model.folder())? {
        metadata.set(&key, value);
    }
    let names = names(model);
    let mut decls = Vec::new();
    for name in &names {
        let raw = checkpoint.require(name)?;
        // llama.cpp wants vectors as F32.
        let ty = if raw.dims.len() > 1 { result_type(&raw, true, asked) } else { GgmlType::F32 };
        decls.push(TensorDecl { name: name.clone(), dims: raw.dims.clone(), ty });
    }
    let factors = factor_tensors(&model.rope, arch.head_dim);
    for (name, factors) in &factors {
        let dims = vec![factors.len() as u64];
        decls.push(TensorDecl { name: (*name).to_owned(), dims, ty: GgmlType::F32 });
    }
    let main = decls.first().map_or(GgmlType::F16, |d| d.ty);
    let file_type = match main {
        GgmlType::F32 => 0,
        GgmlType::Bf16 => 32,
        _ => 1,
    };
    metadata.set("general.file_type", MetaValue::U32(file_type));
    Ok(Header { metadata, names, decls, factors })
}

/// The checkpoint's tensors by their GGUF names, in the order of a file. The model's opening has seen that each is one of these.
fn names(model: &HfModel) -> Vec<String> {
    let arch = &model.arch;
    let mut names = vec!["token_embd.weight".to_owned()];
    for (i, layer) in arch.layers.iter().enumerate() {
        let norms = ["attn_norm", "ffn_norm"].map(|n| format!("blk.{i}.{n}.weight"));
        names.extend(norms);
        for (role, _) in arch.bias_widths(*layer) {
            names.push(format!("blk.{i}.{role}.weight"));
            let bias = format!("blk.{i}.{role}.bias");
            let stored = hf_name(&bias).is_some_and(|name| model.shards.find(&name).is_some());
            names.extend(stored.then_some(bias));
        }
    }
    names.push("output_norm.weight".to_owned());
    names.extend((!arch.tied).then(|| "output.weight".to_owned()));
    names
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
        RopeScaling::Yarn { factor, original, attention, .. } if model.rope.scaling.is_plain_yarn() => {
            set("rope.scaling.type", text("yarn"));
            set("rope.scaling.factor", MetaValue::F32(*factor as f32));
            set("rope.scaling.original_context_length", MetaValue::U32(*original as u32));
            if let Some(attention) = attention {
                // llama.cpp multiplies YaRN's own temperature by it.
                let share = attention / yarn_temperature(*factor);
                set("rope.scaling.attn_factor", MetaValue::F32(share as f32));
            }
        }
        RopeScaling::LongRope { original, attention, .. } => {
            set("rope.scaling.type", text("longrope"));
            set("rope.scaling.original_context_length", MetaValue::U32(*original as u32));
            set("rope.scaling.attn_factor", MetaValue::F32(*attention as f32));
        }
        // These go into a tensor of factors; what is left of them is the temperature.
        RopeScaling::Yarn { .. } | RopeScaling::Llama3 { .. } | RopeScaling::Factors { .. } => {
            let temperature = model.rope.frequencies(arch.head_dim).1;
            if temperature != 1.0 {
                set("rope.scaling.attn_factor", MetaValue::F32(temperature as f32));
            }
        }
        RopeScaling::None => {}
    }
    debug_assert_ne!(arch.kind, ArchKind::Deci);
    m
}

/// The tensors that say how much slower each pair turns, where the keys of llama.cpp's graph cannot.
fn factor_tensors(rope: &Rope, head_dim: u32) -> Vec<(&'static str, Vec<f32>)> {
    match &rope.scaling {
        RopeScaling::LongRope { short, long, .. } => {
            vec![("rope_factors_long.weight", long.clone()), ("rope_factors_short.weight", short.clone())]
        }
        RopeScaling::Llama3 { .. } | RopeScaling::Factors { .. } => {
            vec![("rope_freqs.weight", rope.divisors(head_dim))]
        }
        scaling @ RopeScaling::Yarn { .. } if !scaling.is_plain_yarn() => {
            vec![("rope_freqs.weight", rope.divisors(head_dim))]
        }
        RopeScaling::None | RopeScaling::Linear { .. } | RopeScaling::Yarn { .. } => Vec::new(),
    }
}

/// The templates of a chat as keys of a GGUF file. A file of its own goes before what `tokenizer_config.json` says, as in transformers;
/// of a list of named templates each has its key, `default` the plain one.
fn chat_templates(folder: &Path) -> Result<Vec<(String, MetaValue)>, ConvertError> {
    const KEY: &str = "tokenizer.chat_template";
    let json = |name: &str| read_json(&folder.join(name));
    let mut templates: Vec<(String, String)> = Vec::new();
    let stated = json("tokenizer_config.json")?
        .and_then(|j| j.get("chat_template").cloned())
        .or(json("chat_template.json")?.and_then(|j| j.get("chat_template").cloned()));
    match stated {
        None | Some(Value::Null) => {}
        Some(Value::String(text)) => templates.push(("default".to_owned(), text)),
        Some(Value::Array(all)) => {
            for one in all {
                let text = |key: &str| one.get(key).and_then(Value::as_str).map(str::to_owned);
                match (text("name"), text("template")) {
                    (Some(name), Some(template)) => templates.push((name, template)),
                    _ => {
                        return Err(ConvertError::Template {
                            folder: folder.to_owned(),
                            found: one.to_string(),
                        });
                    }
                }
            }
        }
        Some(other) => {
            return Err(ConvertError::Template { folder: folder.to_owned(), found: other.to_string() });
        }
    }
    let mut set = |name: String, text: String| {
        templates.retain(|t| t.0 != name);
        templates.push((name, text));
    };
    if let Some(text) = read_text(&folder.join("chat_template.jinja"))? {
        set("default".to_owned(), text);
    }
    let extra = folder.join("additional_chat_templates");
    let mut files: Vec<_> = std::fs::read_dir(&extra)
        .map(|all| all.filter_map(|e| Some(e.ok()?.path())).collect())
        .unwrap_or_default();
    files.sort();
    for path in files.into_iter().filter(|p| p.extension().is_some_and(|e| e == "jinja")) {
        if let (Some(name), Some(text)) = (path.file_stem(), read_text(&path)?) {
            set(name.to_string_lossy().into_owned(), text);
        }
    }
    let named: Vec<String> = templates.iter().map(|t| t.0.clone()).filter(|n| n != "default").collect();
    let mut keys: Vec<(String, MetaValue)> = templates
        .into_iter()
        .map(|(name, text)| {
            let key = if name == "default" { KEY.to_owned() } else { format!("{KEY}.{name}") };
            (key, MetaValue::Str(text))
        })
        .collect();
    if !named.is_empty() {
        keys.push(("tokenizer.chat_templates".to_owned(), MetaValue::Array(MetaArray::from_strings(&named))));
    }
    Ok(keys)
}

/// A file's text; none where there is no such file.
fn read_text(path: &Path) -> Result<Option<String>, ConvertError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(HfFault::Read(e).at(path).into()),
    }
}

fn read_json(path: &Path) -> Result<Option<Value>, ConvertError> {
    let Some(text) = read_text(path)? else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|e| HfFault::Json(e).at(path).into())
}
