//! The layers of a built GGUF, for the record: the file may be cleaned away.

use std::collections::BTreeMap;
use std::path::Path;

use crate::protocol::{BuiltLayer, BuiltLayers};
use autotune_model::gguf::Gguf;
use autotune_model::{Architecture, TensorName};

/// Reads the header of an artifact; `sources` are the numbers that its layers had. None for what cannot be read: it is a record, not a need.
pub(super) fn of(path: &Path, sources: &[u32]) -> Option<BuiltLayers> {
    let gguf = Gguf::open(path).ok()?;
    let arch = Architecture::read(&gguf).ok()?;
    let mut bytes: BTreeMap<(Option<u32>, &str, &str), u64> = BTreeMap::new();
    for tensor in gguf.tensors() {
        let Some(part) = part(&tensor.name) else { continue };
        let layer = TensorName::parse(&tensor.name).layer;
        *bytes.entry((layer, part, tensor.ty.name())).or_default() += tensor.bytes();
    }
    let most = |layer: Option<u32>, part: &str| {
        let of = bytes.iter().filter(|((l, p, _), _)| *l == layer && *p == part);
        of.max_by_key(|(_, b)| **b).map(|((_, _, ty), _)| (*ty).to_owned()).unwrap_or_default()
    };
    let layers = arch
        .layers
        .iter()
        .enumerate()
        .map(|(i, shape)| BuiltLayer {
            source: sources.get(i).copied().unwrap_or(i as u32),
            heads: shape.heads,
            kv_heads: shape.kv_heads,
            ffn: shape.ffn,
            attn: most(Some(i as u32), "attn"),
            ffn_type: most(Some(i as u32), "ffn"),
        })
        .collect();
    Some(BuiltLayers { embedding: most(None, "embd"), layers })
}

/// Which part of a layer a tensor belongs to; norms and biases are none.
fn part(name: &str) -> Option<&'static str> {
    if !name.ends_with(".weight") || name.contains("norm") {
        return None;
    }
    ["attn", "ffn", "embd"].into_iter().find(|part| name.contains(part))
}
