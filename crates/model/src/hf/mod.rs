//! Checkpoints in the format of Hugging Face: a folder with `config.json`, safetensors files and `tokenizer.json`.

mod added;
mod config;
mod error;
mod fields;
mod names;
mod shards;

pub use config::{Biases, HfConfig};
pub use error::{HfError, HfFault};
pub use names::{gguf_name, hf_name, is_computed};
pub use shards::Shards;

use std::path::{Path, PathBuf};

use super::Architecture;
use super::rope::Rope;

/// The name of the configuration in a folder.
pub const CONFIG: &str = "config.json";
/// The configuration of an adapter.
const ADAPTER: &str = "adapter_config.json";
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
    /// Opens a folder and accounts for all of it: every tensor that the configuration implies is there, in the shape that it implies, and
    /// every tensor that is there is used, is a buffer that is computed anew, or is refused by name.
    ///
    /// # Errors
    /// A file is missing or damaged; a tensor is missing, of another shape or type, or has no place in the graph; fields and tensors
    /// contradict each other; the folder is an adapter, or a model of another family.
    pub fn open(folder: &Path) -> Result<Self, HfError> {
        refuse_adapter(folder)?;
        let mut config = HfConfig::read(&folder.join(CONFIG))?;
        let shards = Shards::open(folder)?;
        let fail = |fault: HfFault| fault.at(folder);
        let biases = biases(&config, &shards).map_err(fail)?;
        let tied = is_tied(&config, &shards).map_err(fail)?;
        let arch = config.architecture(biases, tied);
        let mut expected = std::collections::BTreeSet::new();
        for (name, dims, required) in shapes(&arch) {
            let tensor = hf_name(&name).unwrap_or(name);
            match shards.find(&tensor) {
                None if required => return Err(fail(HfFault::NoTensor { tensor })),
                None => {}
                Some(found) if found.dims != dims => {
                    // As people know these shapes: rows first.
                    let turned = |dims: &[u64]| dims.iter().rev().copied().collect::<Vec<u64>>();
                    let (found, expected) = (turned(&found.dims), turned(&dims));
                    return Err(fail(HfFault::Shape { tensor, found, expected }));
                }
                Some(_) => {
                    expected.insert(tensor);
                }
            }
        }
        // Tied and the same as the embeddings: stored twice.
        expected.insert("lm_head.weight".to_owned());
        let unused = shards.iter().map(|(name, _)| name).filter(|name| !expected.contains(*name));
        let mut left: Vec<String> = unused.map(str::to_owned).chain(shards.unknown().to_vec()).collect();
        if !left.is_empty() {
            left.sort();
            return Err(fail(HfFault::Leftover { tensors: left }));
        }
        config.end = generation_ends(folder, &config.end)?;
        let rope = config.rope.clone();
        Ok(Self { folder: folder.to_owned(), config, shards, arch, rope })
    }

    /// The folder as given.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The tokenizer's description, with the added tokens that other files of the folder state.
    ///
    /// # Errors
    /// It is missing, cannot be read, or the files contradict each other.
    pub fn tokenizer_json(&self) -> Result<String, HfError> {
        let path = self.folder.join(TOKENIZER);
        let text = std::fs::read_to_string(&path).map_err(|e| HfFault::Read(e).at(&path))?;
        added::with_added_tokens(&self.folder, text)
    }
}

/// Names the folder of an adapter for what it is.
fn refuse_adapter(folder: &Path) -> Result<(), HfError> {
    let path = folder.join(ADAPTER);
    let Ok(text) = std::fs::read_to_string(&path) else { return Ok(()) };
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|e| HfFault::Json(e).at(&path))?;
    let text = |key: &str| json.get(key).and_then(serde_json::Value::as_str).map(str::to_owned);
    let fault = HfFault::Adapter {
        kind: text("peft_type").unwrap_or_else(|| "PEFT".to_owned()),
        base: text("base_model_name_or_path"),
    };
    Err(fault.at(folder))
}

/// Every tensor of an architecture by its GGUF name, with its shape (row length first) and whether it must be there.
fn shapes(arch: &Architecture) -> Vec<(String, Vec<u64>, bool)> {
    let hidden = u64::from(arch.hidden);
    let mut all: Vec<(String, Vec<u64>, bool)> =
        arch.weight_shapes().map(|(name, dims)| (name, dims.to_vec(), true)).collect();
    all.push(("output_norm.weight".to_owned(), vec![hidden], true));
    for (i, layer) in arch.layers.iter().enumerate() {
        let name = |role: &str| format!("blk.{i}.{role}");
        all.extend(["attn_norm.weight", "ffn_norm.weight"].map(|n| (name(n), vec![hidden], true)));
        let widths = arch.bias_widths(*layer);
        all.extend(widths.map(|(role, width)| (name(&format!("{role}.bias")), vec![width], false)));
    }
    all
}

/// Which biases the tensors are, held against what the configuration says of them.
fn biases(config: &HfConfig, shards: &Shards) -> Result<Biases, HfFault> {
    let find = |roles: &[&str]| {
        shards
            .iter()
            .map(|(name, _)| name)
            .find(|name| roles.iter().any(|r| name.ends_with(&format!("{r}_proj.bias"))))
    };
    let qkv = find(&["self_attn.q", "self_attn.k", "self_attn.v"]);
    let (output, mlp) = (find(&["self_attn.o"]), find(&["mlp.gate", "mlp.up", "mlp.down"]));
    let told = [
        ("attention_bias", config.attention_bias, qkv.or(output), "model.layers.0.self_attn.q_proj.bias"),
        ("mlp_bias", config.mlp_bias, mlp, "model.layers.0.mlp.up_proj.bias"),
    ];
    for (key, stated, found, usual) in told {
        let (tensor, contradiction) = match (stated, found) {
            (Some(false), Some(tensor)) => (tensor, "is there"),
            (Some(true), None) => (usual, "is missing"),
            _ => continue,
        };
        let found = stated.unwrap_or_default().to_string();
        return Err(HfFault::Contradiction { key, found, tensor: tensor.to_owned(), contradiction });
    }
    Ok(Biases { qkv: qkv.is_some(), others: output.or(mlp).is_some() })
}

/// Whether the embeddings serve as output matrix. A model that is said to tie them and has another output matrix is two models.
fn is_tied(config: &HfConfig, shards: &Shards) -> Result<bool, HfFault> {
    let Some(head) = shards.find("lm_head.weight") else {
        let tensor = "lm_head.weight".to_owned();
        return if config.states_untied { Err(HfFault::NoTensor { tensor }) } else { Ok(true) };
    };
    if !config.tied {
        return Ok(false);
    }
    let embeddings = shards.find("model.embed_tokens.weight");
    let same = embeddings
        .is_some_and(|e| e.ty == head.ty && e.dims == head.dims && shards.bytes(e) == shards.bytes(head));
    if same {
        return Ok(true);
    }
    Err(HfFault::Contradiction {
        key: "tie_word_embeddings",
        found: "true".to_owned(),
        tensor: "lm_head.weight".to_owned(),
        contradiction: "differs from `model.embed_tokens.weight`",
    })
}

/// The tokens that end a text: those of `config.json`, then those that `generation_config.json` adds.
fn generation_ends(folder: &Path, stated: &[u32]) -> Result<Vec<u32>, HfError> {
    let path = folder.join("generation_config.json");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(stated.to_vec()),
        Err(e) => return Err(HfFault::Read(e).at(&path)),
    };
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|e| HfFault::Json(e).at(&path))?;
    let mut ends = config::tokens(json.get("eos_token_id"));
    // What generation says comes first: it is what stops the model's own generate().
    ends.extend(stated);
    let mut seen = std::collections::BTreeSet::new();
    ends.retain(|token| seen.insert(*token));
    Ok(ends)
}
