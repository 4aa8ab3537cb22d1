//! What an engine says of a model file before anything is run with it.

use serde::{Deserialize, Serialize};

use autotune_core::space::KvType;

/// A model file that an engine can load, with what it does not offer for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Inspection {
    /// Vocabulary size, in tokens.
    pub vocabulary: usize,
    /// Cache types of K that no context can be made with, and the library's words.
    #[serde(default)]
    pub refused_k: Vec<(KvType, String)>,
    /// The same of V.
    #[serde(default)]
    pub refused_v: Vec<(KvType, String)>,
    /// What the library warns of that changes what the model says.
    #[serde(default)]
    pub warnings: Vec<String>,
}
