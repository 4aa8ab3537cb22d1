//! What a space is fitted to, and the remarks on what did not fit.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The shape of a model, as far as a space depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFacts {
    /// Transformer layers.
    pub layers: u32,
    /// Query heads of a layer.
    pub heads: u32,
    /// KV heads of a layer: its groups.
    pub kv_heads: u32,
    /// FFN channels of a layer.
    pub ffn: u32,
    /// The longest context that the model was made for, in tokens; 0 when unknown.
    pub context_max: u32,
    /// Elements of a head, for K and V alike; 0 when unknown.
    #[serde(default)]
    pub head_dim: u32,
    /// Whether the file stores the embedding twice, so that it can be stored once.
    #[serde(default)]
    pub duplicated_embedding: bool,
}

/// What a space is fitted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpaceFacts {
    /// Threads that this process may really use.
    pub usable_threads: u32,
    /// The model, when it is known.
    pub model: Option<ModelFacts>,
    /// Tokens of one request: prompt and output.
    pub workload_context_tokens: u32,
    /// Requests that come at the same time.
    pub workload_requests: u32,
    /// Layers that a GPU of this machine can take, the output matrix counted as one; 0 without a GPU that the engine can use.
    #[serde(default)]
    pub device_layers: u32,
    /// Whether the engine has cache types that are stored in blocks.
    #[serde(default = "yes")]
    pub block_caches: bool,
}

fn yes() -> bool {
    true
}

/// Something that the space file asked for and that is not in the space.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpaceNote {
    /// The parameter.
    pub param: String,
    /// The level as it prints.
    pub level: String,
    /// Why it is not there.
    pub reason: NoteReason,
}

/// Why a level was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoteReason {
    /// More threads than this process may use.
    Threads {
        /// Those that it may use.
        usable: u32,
    },
    /// More sequences than the workload ever sends at once.
    Requests {
        /// Those that it sends.
        requests: u32,
    },
    /// A context that does not hold one request.
    ShortContext {
        /// Tokens of one request.
        needed: u32,
    },
    /// A context beyond what the model was made for.
    LongContext {
        /// The model's longest context in tokens.
        longest: u32,
    },
    /// As many layers as the model has, or more.
    Layers {
        /// Those that it has.
        layers: u32,
    },
    /// Layers on a GPU where there is none.
    NoDevice,
    /// More layers on the GPU than there are.
    DeviceLayers {
        /// Those that there are, the output matrix counted as one.
        layers: u32,
    },
    /// A fraction so small that nothing is kept.
    NothingKept,
    /// A fraction that keeps as many whole units as a level already there.
    SameCount {
        /// Units that both keep.
        kept: u64,
        /// Units that the model has.
        of: u64,
    },
    /// A cache type whose blocks do not divide a head, which the engine refuses.
    CacheBlock {
        /// Elements of a block.
        block: u32,
        /// Elements of a head.
        head: u32,
    },
    /// A cache type that the engine does not have.
    NoCacheType,
    /// A split over the depth of a model with fewer than three layers.
    TooShallow {
        /// The layers that it has.
        layers: u32,
    },
}

impl fmt::Display for NoteReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoteReason::Threads { usable } => {
                write!(f, "this process may use {usable} {}", plural(*usable, "thread"))
            }
            NoteReason::Requests { requests } => {
                write!(f, "the workload sends {requests} {} at once", plural(*requests, "request"))
            }
            NoteReason::ShortContext { needed } => write!(f, "one request takes {needed} tokens"),
            NoteReason::LongContext { longest } => {
                write!(f, "the model was made for contexts up to {longest} tokens")
            }
            NoteReason::Layers { layers } | NoteReason::TooShallow { layers } => {
                write!(f, "the model has {layers} {}", plural(*layers, "layer"))
            }
            NoteReason::NoDevice => f.write_str("this engine finds no GPU here"),
            NoteReason::DeviceLayers { layers } => {
                write!(f, "the model has {layers} {} to put on a GPU", plural(*layers, "layer"))
            }
            NoteReason::CacheBlock { block, head } => {
                write!(f, "the model's heads of {head} elements do not divide into blocks of {block}")
            }
            NoteReason::NoCacheType => f.write_str("this engine has no such cache type"),
            NoteReason::NothingKept => f.write_str("nothing would be kept"),
            NoteReason::SameCount { kept, of } => {
                write!(f, "it keeps {kept} of {of} units, as another level does")
            }
        }
    }
}

fn plural(n: u32, word: &str) -> String {
    if n == 1 { word.to_owned() } else { format!("{word}s") }
}

impl fmt::Display for SpaceNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {} left out: {}", self.param, self.level, self.reason)
    }
}
