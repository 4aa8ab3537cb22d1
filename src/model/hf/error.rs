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
    #[error("is no folder with {0}; name the folder of a Hugging Face checkpoint, or a GGUF file")]
    NoFolder(&'static str),
    #[error("is no JSON ({0}); download it again")]
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
    #[error("is no safetensors file ({0}); download it again")]
    Format(String),
    #[error("the tensor `{tensor}` is missing")]
    NoTensor { tensor: String },
    #[error("the tensor `{tensor}` has the type {found}; F32, F16 and BF16 can be read")]
    Dtype { tensor: String, found: String },
    #[error("the tensor `{tensor}` has the shape {found:?}, but config.json says {expected:?}")]
    Shape { tensor: String, found: Vec<u64>, expected: Vec<u64> },
}

impl HfFault {
    /// The fault with where it is.
    #[must_use]
    pub fn at(self, path: &Path) -> HfError {
        HfError { path: path.to_owned(), fault: self }
    }
}
