//! Checkpoints in the format of Hugging Face: a folder with `config.json`, safetensors files and `tokenizer.json`.

mod config;
mod error;
mod names;
mod shards;

pub use config::HfConfig;
pub use error::{HfError, HfFault};
pub use names::{hf_name, is_known_hf_name};
pub use shards::Shards;

use std::path::{Path, PathBuf};

use super::Architecture;
use super::rope::Rope;

/// The name of the configuration in a folder.
pub const CONFIG: &str = "config.json";
/// The name of the tokenizer in a folder.
pub const TOKENIZER: &str = "tokenizer.json";

/// An open folder whose configuration and tensors agree.
#[derive(Debug)]
pub struct HfModel {
    folder: PathBuf,
    /// The configuration.
    pub config: HfConfig,
    /// The tensors.
    pub shards: Shards,
    /// The model's sizes.
    pub arch: Architecture,
    /// The rotary embedding.
    pub rope: Rope,
}

impl HfModel {
    /// Opens a folder and checks that every tensor that the configuration implies is there, in the shape that it implies.
    ///
    /// # Errors
    /// A file is missing or damaged, a tensor is missing or of another shape or type, or the model is of another family.
    pub fn open(folder: &Path) -> Result<Self, HfError> {
        let config = HfConfig::read(&folder.join(CONFIG))?;
        let shards = Shards::open(folder)?;
        let bias = shards.find("model.layers.0.self_attn.q_proj.bias").is_some();
        let tied = config.tied || shards.find("lm_head.weight").is_none();
        let arch = config.architecture(bias, tied);
        let fail = |fault: HfFault| fault.at(folder);
        if tied && !config.tied && config.states_untied {
            return Err(fail(HfFault::NoTensor { tensor: "lm_head.weight".to_owned() }));
        }
        let norms = (0..arch.layers.len())
            .flat_map(|i| ["attn_norm", "ffn_norm"].map(|n| format!("blk.{i}.{n}.weight")))
            .chain(["output_norm.weight".to_owned()])
            .map(|name| (name, vec![u64::from(arch.hidden)]));
        let biases = arch.layers.iter().enumerate().filter(|_| bias).flat_map(|(i, l)| {
            let kv = u64::from(l.kv_heads * arch.head_dim);
            let q = u64::from(l.heads * arch.head_dim);
            [("q", q), ("k", kv), ("v", kv)].map(|(n, width)| (format!("blk.{i}.attn_{n}.bias"), vec![width]))
        });
        let matrices = arch.weight_shapes().map(|(name, dims)| (name, dims.to_vec()));
        for (name, dims) in matrices.chain(norms).chain(biases) {
            let tensor = hf_name(&name).unwrap_or(name);
            let Some(found) = shards.find(&tensor) else {
                return Err(fail(HfFault::NoTensor { tensor }));
            };
            if found.dims != dims {
                // As people know these shapes: rows first.
                let turned = |dims: &[u64]| dims.iter().rev().copied().collect::<Vec<u64>>();
                let (found, expected) = (turned(&found.dims), turned(&dims));
                return Err(fail(HfFault::Shape { tensor, found, expected }));
            }
        }
        let rope = config.rope.clone();
        Ok(Self { folder: folder.to_owned(), config, shards, arch, rope })
    }

    /// The folder as given.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The tokenizer's description.
    ///
    /// # Errors
    /// It is missing, or cannot be read.
    pub fn tokenizer_json(&self) -> Result<String, HfError> {
        let path = self.folder.join(TOKENIZER);
        std::fs::read_to_string(&path).map_err(|e| HfFault::Read(e).at(&path))
    }
}
