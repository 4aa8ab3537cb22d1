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
    /// Number of weights; those that are stored twice counted once.
    pub parameters: u64,
    /// Of these, how many are stored twice: the embedding that the file repeats as output matrix.
    pub duplicated: u64,
    /// Size of the file in bytes.
    pub file_bytes: u64,
    /// The type that holds most weights.
    pub main_type: String,
    /// What the file is called by its type: `general.file_type` (`Q4_K_M`), or the type that holds most weights where that says nothing.
    pub file_type: String,
    /// Whether any weight matrix is quantized: then no float original is at hand, and re-quantizing is not what it seems.
    pub already_quantized: bool,
    /// Whether the file says to be one of several parts although it holds all tensors.
    pub says_split: bool,
    /// `general.license`, where stated.
    pub license: Option<String>,
}

impl ModelFacts {
    /// Sums up a file of a known architecture, of which `duplicated` weights are stored twice.
    #[must_use]
    pub fn new(gguf: &Gguf, arch: &Architecture, duplicated: u64) -> Self {
        let text = |key: &str| gguf.metadata().get(key).and_then(MetaValue::as_str).map(str::to_owned);
        let stem = || gguf.path().file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        let first = arch.layers.first().copied();
        let weights = |ty: GgmlType| -> u64 {
            gguf.tensors().iter().filter(|t| t.ty == ty).map(super::gguf::TensorInfo::elements).sum()
        };
        let main_type = GgmlType::all().max_by_key(|t| weights(*t)).unwrap_or(GgmlType::F32);
        let stored: u64 = gguf.tensors().iter().map(super::gguf::TensorInfo::elements).sum();
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
            parameters: stored - duplicated,
            duplicated,
            file_bytes: gguf.len(),
            main_type: main_type.name().to_owned(),
            file_type: file_type(gguf).unwrap_or(main_type.name()).to_owned(),
            already_quantized: is_quantized(gguf),
            says_split: gguf.metadata().says_split(),
            license: text("general.license"),
        }
    }
}

/// Names of `enum llama_ftype` (llama.cpp's `llama.h`), by number.
const FILE_TYPES: &[(u64, &str)] = &[
    (0, "F32"),
    (1, "F16"),
    (2, "Q4_0"),
    (3, "Q4_1"),
    (7, "Q8_0"),
    (8, "Q5_0"),
    (9, "Q5_1"),
    (10, "Q2_K"),
    (11, "Q3_K_S"),
    (12, "Q3_K_M"),
    (13, "Q3_K_L"),
    (14, "Q4_K_S"),
    (15, "Q4_K_M"),
    (16, "Q5_K_S"),
    (17, "Q5_K_M"),
    (18, "Q6_K"),
    (19, "IQ2_XXS"),
    (20, "IQ2_XS"),
    (21, "Q2_K_S"),
    (22, "IQ3_XS"),
    (23, "IQ3_XXS"),
    (24, "IQ1_S"),
    (25, "IQ4_NL"),
    (26, "IQ3_S"),
    (27, "IQ3_M"),
    (28, "IQ2_S"),
    (29, "IQ2_M"),
    (30, "IQ4_XS"),
    (31, "IQ1_M"),
    (32, "BF16"),
    (36, "TQ1_0"),
    (37, "TQ2_0"),
];
/// Added to the number where llama.cpp guessed it.
const GUESSED: u64 = 1024;

/// What `general.file_type` calls a file; none where it says nothing, or the opposite of what the tensors are.
fn file_type(gguf: &Gguf) -> Option<&'static str> {
    let number = gguf.metadata().get("general.file_type").and_then(MetaValue::as_u64)? & !GUESSED;
    let name = FILE_TYPES.iter().find(|row| row.0 == number)?.1;
    let float = matches!(name, "F32" | "F16" | "BF16");
    (float != is_quantized(gguf)).then_some(name)
}

/// Whether any weight matrix is stored in other than F32, F16 or BF16.
#[must_use]
pub fn is_quantized(gguf: &Gguf) -> bool {
    gguf.tensors().iter().any(|t| {
        let group: Option<WeightGroup> = TensorName::parse(&t.name).group();
        group.is_some() && !t.ty.is_float()
    })
}
