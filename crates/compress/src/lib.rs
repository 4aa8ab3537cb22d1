//! From a model and a candidate to an artifact: importance, pruning, quantization, assembly.
//!
//! - [`ActivationStats`], [`Importance`]: what calibration text says of channels, heads and layers.
//! - [`PrunePlan`]: which of them stay.
//! - [`Predictor`]: the artifact's size, before anything is read.
//! - `Builder` (feature `llama`): the artifact itself, assembled from tensors that are each quantized once and cached by content.
//! - `make_reference` (feature `llama`): the float model that everything is measured against.
//!
//! - [`convert`]: GGUF to a Hugging Face model directory and back. [`torch`]: artifacts of the torch engine.
//!
//! The order of work for one candidate: prune plan → layout (names, shapes and types of the result) → metadata → tensors.

#[cfg(feature = "llama")]
mod build;
#[cfg(feature = "llama")]
mod cache;
pub mod convert;
mod duplicate;
mod error;
mod floats;
mod importance;
mod layout;
#[cfg(feature = "llama")]
mod metadata;
#[cfg(feature = "llama")]
mod pick;
mod predict;
mod presets;
mod prune;
#[cfg(feature = "llama")]
mod quantizer;
mod recipe;
#[cfg(feature = "llama")]
mod reference;
#[cfg(feature = "llama")]
mod rescale;
pub mod sparse;
pub mod torch;
mod types;

pub use autotune_model::ActivationStats;
#[cfg(feature = "llama")]
pub use build::{Artifact, Builder, Kept, Progress};
pub use duplicate::duplicated_embedding;
pub use error::CompressError;
pub use importance::{Importance, LayerScores};
pub use predict::{Prediction, Predictor};
pub use presets::{AS_SHIPPED, Preset};
pub use prune::{KeptLayer, PrunePlan, PruneRequest};
pub use recipe::recipe_key;
#[cfg(feature = "llama")]
pub use reference::{Reference, make_reference};
pub use types::{Fallback, fit_type};
