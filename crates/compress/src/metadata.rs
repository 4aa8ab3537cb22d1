//! The metadata of an artifact: those of the source with the new sizes, and what was done to it.

use super::PrunePlan;
use super::layout::{Layout, LayoutTensor};
use autotune_model::gguf::{MetaArray, MetaValue, Metadata};
use autotune_model::{Architecture, GgmlType, LayerShape};

/// The metadata of an artifact.
pub(super) fn artifact_metadata(
    base: &Metadata,
    arch: &Architecture,
    layout: &Layout,
    plan: &PrunePlan,
    recipe: &str,
) -> Metadata {
    let mut m = base.clone();
    let (old, new) = (arch.kind.name(), layout.kind.name());
    if old != new {
        let prefix = format!("{old}.");
        m.rename_keys(|key| key.strip_prefix(&prefix).map(|rest| format!("{new}.{rest}")));
    }
    m.set("general.architecture", MetaValue::Str(new.to_owned()));
    set_sizes(&mut m, new, arch, &layout.shapes);
    match file_type(&layout.tensors) {
        Some(n) => m.set("general.file_type", MetaValue::U32(n)),
        None => m.remove("general.file_type"),
    }
    if layout.tensors.iter().any(|t| t.decl.ty.is_quantized()) {
        // GGML_QNT_VERSION of the block layouts that we write.
        m.set("general.quantization_version", MetaValue::U32(2));
    }
    m.set("general.quantized_by", MetaValue::Str(format!("autotune {}", env!("CARGO_PKG_VERSION"))));
    m.set("autotune.recipe", MetaValue::Str(recipe.to_owned()));
    if *plan != PrunePlan::full(arch) {
        set_kept(&mut m, arch, plan);
    }
    m
}

fn set_sizes(m: &mut Metadata, prefix: &str, arch: &Architecture, shapes: &[LayerShape]) {
    let unchanged = shapes == arch.layers.as_slice() && prefix == arch.kind.name();
    if unchanged {
        return;
    }
    let key = |k: &str| format!("{prefix}.{k}");
    m.set(&key("block_count"), MetaValue::U32(shapes.len() as u32));
    let mut size = |name: &str, values: Vec<u32>| {
        let value = match values.first() {
            Some(first) if values.iter().all(|v| v == first) => MetaValue::U32(*first),
            _ => MetaValue::Array(MetaArray::from_u32(&values)),
        };
        m.set(&key(name), value);
    };
    size("attention.head_count", shapes.iter().map(|s| s.heads).collect());
    size("attention.head_count_kv", shapes.iter().map(|s| s.kv_heads).collect());
    size("feed_forward_length", shapes.iter().map(|s| s.ffn).collect());
    // Left out, the loader divides the hidden size by the first layer's heads.
    for name in ["attention.key_length", "attention.value_length", "rope.dimension_count"] {
        m.set(&key(name), MetaValue::U32(arch.head_dim));
    }
}

/// Records what stayed: layers and KV heads as numbers of the source, FFN channels as one bit each, lowest bit first, each layer
/// padded to whole bytes.
fn set_kept(m: &mut Metadata, arch: &Architecture, plan: &PrunePlan) {
    let layers: Vec<u32> = plan.layers.iter().map(|l| l.source).collect();
    let heads: Vec<u32> = plan.layers.iter().flat_map(|l| l.kv_heads.iter().copied()).collect();
    m.set("autotune.kept_layers", MetaValue::Array(MetaArray::from_u32(&layers)));
    m.set("autotune.kept_kv_heads", MetaValue::Array(MetaArray::from_u32(&heads)));
    let mut bits = Vec::new();
    for layer in &plan.layers {
        let width = arch.layers.get(layer.source as usize).map_or(0, |s| s.ffn as usize);
        let mut row = vec![0u8; width.div_ceil(8)];
        for channel in &layer.ffn {
            row[*channel as usize / 8] |= 1 << (channel % 8);
        }
        bits.extend(row);
    }
    m.set("autotune.kept_ffn_bits", MetaValue::Array(MetaArray::from_u8(&bits)));
}

/// The file type number of the type that holds most bytes; llama.cpp prints it as the model's type.
fn file_type(tensors: &[LayoutTensor]) -> Option<u32> {
    use GgmlType as T;
    let bytes =
        |ty: T| -> u64 { tensors.iter().filter(|t| t.decl.ty == ty).filter_map(|t| t.decl.bytes()).sum() };
    let known = [
        (T::F32, 0),
        (T::F16, 1),
        (T::Q4_0, 2),
        (T::Q4_1, 3),
        (T::Q8_0, 7),
        (T::Q5_0, 8),
        (T::Q5_1, 9),
        (T::Q2_K, 10),
        (T::Q3_K, 11),
        (T::Q4_K, 14),
        (T::Q5_K, 16),
        (T::Q6_K, 18),
        (T::Iq2Xxs, 19),
        (T::Iq2Xs, 20),
        (T::Iq3Xxs, 23),
        (T::Iq4Nl, 25),
        (T::Iq3S, 26),
        (T::Iq2S, 28),
        (T::Iq4Xs, 30),
        (T::Bf16, 32),
    ];
    let most = GgmlType::all().max_by_key(|t| bytes(*t))?;
    known.iter().find(|(t, _)| *t == most).map(|(_, n)| *n)
}
