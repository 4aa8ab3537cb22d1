//! What calibration text says of a model: the data behind importance and the importance matrix.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Activations of a model on calibration text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ActivationStats {
    /// Tokens that were run.
    pub tokens: u64,
    /// By weight tensor (`blk.3.ffn_down.weight`): the mean squared input of each column. This is the importance matrix of quantization, too.
    pub mean_square: BTreeMap<String, Vec<f32>>,
    /// By layer: the mean cosine between the residual stream before and after it.
    pub layer_cosine: Vec<f32>,
    /// By layer: the mean square of an element of the residual stream behind it.
    #[serde(default)]
    pub stream_square: Vec<f32>,
}
