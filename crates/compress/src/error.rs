//! Why a candidate has no artifact. Each text is whole in itself.

use std::io;
use std::path::PathBuf;

use autotune_model::gguf::GgufError;
use autotune_model::{ArchError, GgmlType, UnknownTorchType, UnknownType};

/// Why compressing failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum CompressError {
    #[error(transparent)]
    Gguf(#[from] GgufError),
    #[error("model file {}: {cause}", path.display())]
    Arch { path: PathBuf, cause: ArchError },
    #[error(transparent)]
    TorchType(#[from] UnknownTorchType),
    #[error("weight type of `{slot}`: {cause}")]
    Type { slot: String, cause: UnknownType },
    #[error("weight type of `{slot}`: `{found}` holds activations or integers, not weights")]
    NotAWeightType { slot: String, found: GgmlType },
    #[error(
        "invalid weight group `{0}`: expected attn, ffn or embd, the first two with .early, .middle or .late if wanted"
    )]
    Slot(String),
    #[error("unknown preset `{found}`: expected one of {known}, as-shipped")]
    Preset { found: String, known: String },
    #[error("`as-shipped` needs the user's model file; this builder was given none")]
    NothingShipped,
    #[error(
        "{} stores `{tensor}` as {ty}: candidates are built from a float model; make a float reference of it first",
        path.display()
    )]
    NotFloat { path: PathBuf, tensor: String, ty: GgmlType },
    #[error(
        "pruning needs activation statistics, and there are none; collect them on calibration text first"
    )]
    NeedsStats,
    #[error(
        "the activation statistics have {found} columns for `{tensor}`, which has {expected}; they belong to another model"
    )]
    Stats { tensor: String, found: usize, expected: u64 },
    #[error("the activation statistics lack `{tensor}`; they belong to another model")]
    NoStats { tensor: String },
    #[error("{asked} layers cannot be dropped from {layers}: the first and the last stay")]
    Depth { asked: u32, layers: usize },
    #[error(
        "`{tensor}` cannot be kept when heads are pruned, because the architecture for unequal layers has no such tensor"
    )]
    NotInDeci { tensor: String },
    #[error("tensor `{tensor}`: {detail}")]
    Convert { tensor: String, detail: String },
    #[error("llama.cpp: {0}")]
    Library(String),
    #[error("tensor cache {}: {cause}", path.display())]
    Cache { path: PathBuf, cause: io::Error },
    #[error("{}: {cause}", path.display())]
    Io { path: PathBuf, cause: io::Error },
}
