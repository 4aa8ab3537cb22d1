//! What a library with gradients can do beyond running a model. The torch engine has it, in the program `autotune-torch`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Device, EngineError};

/// How much the loss on calibration text depends on each part of a layer, to first order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerGradients {
    /// Of each KV group (a KV head with its query heads).
    pub kv_groups: Vec<f32>,
    /// Of each FFN channel.
    pub ffn: Vec<f32>,
    /// Of the layer as a whole.
    pub layer: f32,
}

/// A recovery: a student that is trained towards its teacher's predictions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecoverRequest {
    /// The model to be trained: a GGUF of floats.
    pub student: PathBuf,
    /// The model whose predictions it learns.
    pub teacher: PathBuf,
    /// Text that both read.
    pub text: String,
    /// Where the trained model goes (a GGUF like the student's).
    pub out: PathBuf,
    /// Where a stopped recovery is kept, to go on from.
    pub state: PathBuf,
    /// Training ends after this long, all runs together, in seconds.
    pub time_s: f64,
    /// Training ends after so many steps.
    pub most_steps: u64,
    /// Tokens of a window.
    pub window: u32,
    /// Windows of a step.
    pub windows_per_step: u32,
    /// Largest learning rate.
    pub rate: f64,
    /// How matrices are rounded while the loss is computed; none: trained as floats.
    pub rounding: Option<Rounding>,
    /// Seed of the order of windows.
    pub seed: u64,
    /// Compute threads.
    pub threads: u32,
    /// Where it is computed.
    pub device: Device,
}

/// Quantization-aware training: what the student's matrices will be rounded to is what the loss sees of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rounding {
    /// A GGUF with the student's tensors: matrices of layers that are quantized there are seen rounded to the same type.
    pub like: PathBuf,
    /// Activation statistics (JSON) that guide the rounding, the same as when the trained model is quantized.
    pub stats: Option<PathBuf>,
    /// Steps between two roundings; in between a matrix moves with the error of the last one.
    pub every: u32,
}

/// How far a recovery is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RecoverProgress {
    /// Steps taken, earlier runs included.
    pub steps: u64,
    /// Tokens seen.
    pub tokens: u64,
    /// Time spent training, earlier runs included, in seconds.
    pub spent_s: f64,
    /// Mean divergence of the last steps from the teacher, in nats a token.
    pub loss: f64,
    /// The same on windows that are not trained on; none when it was not measured at this step.
    pub held_out: Option<f64>,
}

/// What needs gradients.
pub trait Lab {
    /// The loss's dependence on KV groups, FFN channels and layers, first to last, on up to `max_tokens` of a text.
    ///
    /// # Errors
    /// A model that does not load, a text that is too short, or a failure of the library.
    fn gradients(
        &self,
        model: &Path,
        text: &str,
        max_tokens: u32,
        threads: u32,
    ) -> Result<Vec<LayerGradients>, EngineError>;

    /// Trains a student towards its teacher; `each` hears of every step, and false ends the training (what was learnt is kept).
    ///
    /// # Errors
    /// Models that do not load or do not belong together, or a failure of the library.
    fn recover(
        &self,
        request: &RecoverRequest,
        each: &mut dyn FnMut(RecoverProgress) -> bool,
    ) -> Result<RecoverProgress, EngineError>;
}

impl RecoverRequest {
    /// The time that training may take.
    #[must_use]
    pub fn time(&self) -> Duration {
        Duration::try_from_secs_f64(self.time_s).unwrap_or(Duration::MAX)
    }
}
