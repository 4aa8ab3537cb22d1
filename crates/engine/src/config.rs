//! The settings that an artifact is run with.

use serde::{Deserialize, Serialize};

use super::Device;
use autotune_core::space::KvType;

/// How attention is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlashAttention {
    /// The engine decides.
    Auto,
    /// Always; needed when V is quantized.
    On,
    /// Never: results do not depend on what else is in the batch.
    Off,
}

/// How an artifact is run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunConfig {
    /// Compute threads.
    pub threads: u32,
    /// Sequences that can be in flight together.
    pub sequences: u32,
    /// Context of each sequence, in tokens.
    pub context: u32,
    /// Tokens handed to one decode call, at most.
    pub batch_tokens: u32,
    /// Tokens computed at once inside it.
    pub ubatch: u32,
    /// Rows of one decode call whose logits may be asked for; 0: all.
    pub max_outputs: u32,
    /// Type of the K cache.
    pub kv_k: KvType,
    /// Type of the V cache.
    pub kv_v: KvType,
    /// Attention kernel.
    pub flash: FlashAttention,
    /// Whether weights may be repacked for the CPU.
    pub repack: bool,
    /// Layers on the GPU; 0: none.
    pub gpu_layers: u32,
    /// Where the torch engine computes.
    #[serde(default)]
    pub device: Device,
}

impl RunConfig {
    /// The smallest run: one short sequence on one thread, an F16 cache, nothing repacked.
    #[must_use]
    pub fn least() -> Self {
        Self {
            threads: 1,
            sequences: 1,
            context: 256,
            batch_tokens: 32,
            ubatch: 32,
            max_outputs: 0,
            kv_k: KvType::F16,
            kv_v: KvType::F16,
            flash: FlashAttention::Off,
            repack: false,
            gpu_layers: 0,
            device: Device::Cpu,
        }
    }
}
