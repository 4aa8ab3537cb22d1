//! What the user is told about a model before anything is loaded.

use serde::Serialize;

use super::gguf::{Gguf, MetaValue};
use super::{Architecture, GgmlType, TensorName, WeightGroup};

/// A summary of a model file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelFacts {
    /// `general.name`, else the file's stem.
    pub name: String,
    /// `general.architecture`.
    pub architecture: String,
    /// Number of layers.
    pub layers: u32,
    /// Width of the residual stream.
    pub hidden: u32,
    /// Query heads of the first layer.
    pub heads: u32,
    /// KV heads of the first layer.
    pub kv_heads: u32,
    /// Elements of a head.
    pub head_dim: u32,
    /// FFN width of the first layer.
    pub ffn: u32,
    /// Size of the vocabulary.
    pub vocab: u32,
    /// Longest trained context in tokens.
    pub context_length: u32,
    /// Whether the embeddings serve as output matrix.
    pub tied_embeddings: bool,
    /// Number of weights.
    pub parameters: u64,
    /// Size of the file in bytes.
    pub file_bytes: u64,
    /// The type that holds most weights.
    pub main_type: String,
    /// Whether any weight matrix is quantized: then no float original is at hand, and re-quantizing is not what it seems.
    pub already_quantized: bool,
    /// `general.license`, where stated.
    pub license: Option<String>,
}

impl ModelFacts {
    /// Sums up a file of a known architecture.
    #[must_use]
    pub fn new(gguf: &Gguf, arch: &Architecture) -> Self {
        let text = |key: &str| gguf.metadata().get(key).and_then(MetaValue::as_str).map(str::to_owned);
        let stem = || gguf.path().file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        let first = arch.layers.first().copied();
        let weights = |ty: GgmlType| -> u64 {
            gguf.tensors().iter().filter(|t| t.ty == ty).map(super::gguf::TensorInfo::elements).sum()
        };
        let main_type = GgmlType::all().max_by_key(|t| weights(*t)).unwrap_or(GgmlType::F32);
        Self {
            name: text("general.name").unwrap_or_else(stem),
            architecture: arch.kind.name().to_owned(),
            layers: arch.layers.len() as u32,
            hidden: arch.hidden,
            heads: first.map_or(0, |l| l.heads),
            kv_heads: first.map_or(0, |l| l.kv_heads),
            head_dim: arch.head_dim,
            ffn: first.map_or(0, |l| l.ffn),
            vocab: arch.vocab,
            context_length: arch.context_length,
            tied_embeddings: arch.tied,
            parameters: gguf.tensors().iter().map(super::gguf::TensorInfo::elements).sum(),
            file_bytes: gguf.len(),
            main_type: main_type.name().to_owned(),
            already_quantized: is_quantized(gguf),
            license: text("general.license"),
        }
    }
}

/// Whether any weight matrix is stored in other than F32, F16 or BF16.
#[must_use]
pub fn is_quantized(gguf: &Gguf) -> bool {
    gguf.tensors().iter().any(|t| {
        let group: Option<WeightGroup> = TensorName::parse(&t.name).group();
        group.is_some() && !t.ty.is_float()
    })
}
