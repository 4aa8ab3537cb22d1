//! The checkpoint: reading and writing GGUF files, the architecture, what each tensor is for.
//!
//! - [`gguf`]: our own bounds-checked reader and streaming writer of GGUF v2/v3.
//! - [`GgmlType`]: the table of storage types, with their blocks.
//! - [`Architecture`]: layers, heads, widths, read from a file's metadata and checked against its tensors.
//! - [`TensorName`]: role and layer of a tensor by its name.
//! - [`ModelFacts`]: what the user is told about a model.

pub mod gguf;
pub mod locate;
pub mod synthetic;

mod arch;
mod facts;
mod ggml_type;
mod role;

pub use arch::{ArchError, ArchKind, Architecture, LayerShape, RopePairing};
pub use facts::{ModelFacts, is_quantized};
pub use ggml_type::{GgmlType, UnknownType};
pub use role::{TensorName, TensorRole, WeightGroup};
