//! The checkpoint: reading and writing GGUF files, the architecture, what each tensor is for.
//!
//! - [`gguf`]: our own bounds-checked reader and streaming writer of GGUF v2/v3.
//! - [`hf`]: checkpoints of Hugging Face: configuration, safetensors, names.
//! - [`Checkpoint`]: either format, seen alike; with [`rope`] and [`tokenizer`].
//! - [`GgmlType`]: the table of storage types, with their blocks.
//! - [`Architecture`]: layers, heads, widths, read from a file's metadata and checked against its tensors.
//! - [`TensorName`]: role and layer of a tensor by its name.
//! - [`FileKind`]: what a GGUF file holds, where it is no language model.
//! - [`ModelFacts`]: what the user is told about a model.

pub mod gguf;
pub mod hf;
pub mod hub;
pub mod locate;
pub mod rope;
pub mod synthetic;
pub mod tokenizer;
pub mod torchscript;

mod activation_stats;
mod arch;
mod checkpoint;
mod facts;
mod float_bytes;
mod ggml_type;
mod kind;
mod role;
mod torch_type;

pub use activation_stats::ActivationStats;
pub use arch::{ArchError, ArchKind, Architecture, LayerShape, RopePairing};
pub use checkpoint::{Checkpoint, CheckpointError, RawTensor};
pub use facts::{ModelFacts, is_quantized};
pub use float_bytes::float_bytes;
pub use ggml_type::{GgmlType, UnknownType};
pub use kind::{FileKind, kind_of_file};
pub use role::{TensorName, TensorRole, WeightGroup};
pub use torch_type::{
    DYNAMIC_SCALES, INT4_GROUP, LEVELS, NF4_GROUP, NF4_LEVELS, SCALES, TWO_OF_FOUR, TorchType,
    UnknownTorchType,
};
