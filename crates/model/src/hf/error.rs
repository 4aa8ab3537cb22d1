//! What can be wrong with a folder.

use std::path::{Path, PathBuf};

/// A file or folder, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("{}: {fault}", path.display())]
pub struct HfError {
    /// The file or folder.
    pub path: PathBuf,
    /// What is wrong.
    #[source]
    pub fault: HfFault,
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum HfFault {
    #[error("cannot be read ({0})")]
    Read(std::io::Error),
    #[error("is not a directory with {0}; give a Hugging Face model directory or a GGUF file")]
    NoFolder(&'static str),
    #[error("is not valid JSON ({0}); download it again")]
    Json(serde_json::Error),
    #[error("lacks `{0}`")]
    Missing(&'static str),
    #[error("`{key}` is {found}; expected {expected}")]
    Value { key: &'static str, found: String, expected: &'static str },
    #[error("the model type `{found}` is not known; known are {known}")]
    Unknown { found: String, known: String },
    #[error("mixtures of experts are not supported ({0} experts)")]
    Experts(u64),
    #[error("has no safetensors file (model.safetensors, or model.safetensors.index.json with its parts)")]
    NoWeights,
    #[error("is missing, but {index} names it for {tensors} tensors; download the missing part")]
    NoShard { index: String, tensors: usize },
    #[error(
        "is a pointer of Git LFS, not the weights; run `git lfs pull` there, or download the file itself"
    )]
    LfsPointer,
    #[error("is not a safetensors file ({0}); download it again")]
    Format(String),
    #[error("the tensor `{tensor}` is missing")]
    NoTensor { tensor: String },
    #[error(
        "`{key}` says that the weights are quantized ({method}); name the checkpoint that they were made from, with F32, F16 or BF16 weights"
    )]
    Quantized { key: &'static str, method: String },
    #[error(
        "states {}, which autotune would leave out although the model may compute something else by it; if it changes nothing, delete it from config.json",
        fields.join(", ")
    )]
    Fields { fields: Vec<String> },
    #[error(
        "holds {}, which {} no place in the graph of the llama family; convert would leave {} out and write another model",
        list(tensors),
        if tensors.len() == 1 { "has" } else { "have" },
        if tensors.len() == 1 { "it" } else { "them" }
    )]
    Leftover { tensors: Vec<String> },
    #[error("the tensor `{tensor}` is also in {}; which of the two counts is not known: delete one", other.display())]
    Twice { tensor: String, other: PathBuf },
    #[error("does not hold the tensor `{tensor}`, which {index} says it does; download both again")]
    NotInShard { index: String, tensor: String },
    #[error("contradicts the other files of the directory: {0}")]
    Tokens(String),
    #[error(
        "is in the same directory as {index}, which does not list it; delete the one that does not belong to the model"
    )]
    Stray { index: String },
    #[error(
        "{key} is {found} in config.json, but the tensor `{tensor}` {contradiction}; correct one of them"
    )]
    Contradiction { key: &'static str, found: String, tensor: String, contradiction: &'static str },
    #[error(
        "is a {kind} adapter (adapter_config.json){}, not a whole model; merge it into its base model first",
        base_of(base)
    )]
    Adapter { kind: String, base: Option<String> },
    #[error("the tensor `{tensor}` has the type {found}; F32, F16 and BF16 can be read")]
    Dtype { tensor: String, found: String },
    #[error("the tensor `{tensor}` has the shape {found:?}, but config.json says {expected:?}")]
    Shape { tensor: String, found: Vec<u64>, expected: Vec<u64> },
}

/// Names in backquotes, the first few of many.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 6;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|n| format!("`{n}`")).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => format!("the {} {}", if names.len() == 1 { "tensor" } else { "tensors" }, shown.join(", ")),
        more => format!("the tensors {} and {more} more", shown.join(", ")),
    }
}

fn base_of(base: &Option<String>) -> String {
    base.as_ref().map_or(String::new(), |name| format!(" of {name}"))
}

impl HfFault {
    /// The fault with where it is.
    #[must_use]
    pub fn at(self, path: &Path) -> HfError {
        HfError { path: path.to_owned(), fault: self }
    }
}
