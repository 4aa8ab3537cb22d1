//! A checkpoint of either format, seen alike: sizes, tensors by their GGUF names, the tokenizer.

use std::path::{Path, PathBuf};

use super::gguf::{Gguf, GgufError, MetaValue};
use super::hf::{CONFIG, HfError, HfModel, hf_name};
use super::rope::{Rope, RopeScaling, yarn_temperature};
use super::tokenizer::{TokenizerError, TokenizerFacts};
use super::{ArchError, Architecture, GgmlType};

/// A GGUF file or a Hugging Face model directory.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a process opens one or two")]
pub enum Checkpoint {
    /// A GGUF file.
    Gguf {
        /// The file.
        gguf: Gguf,
        /// Its sizes.
        arch: Architecture,
    },
    /// A folder.
    Hf(HfModel),
}

/// A checkpoint that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A GGUF file that cannot be read.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A folder that cannot be read.
    #[error(transparent)]
    Hf(#[from] HfError),
    /// An architecture that we do not know, or whose tensors do not fit.
    #[error("{}: {cause}", path.display())]
    Arch {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: ArchError,
    },
    /// A tokenizer that we cannot use.
    #[error("{}: {cause}", path.display())]
    Tokenizer {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        cause: TokenizerError,
    },
    /// No such tensor.
    #[error("{}: the tensor `{tensor}` is missing", path.display())]
    NoTensor {
        /// The file or folder.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
}

/// A tensor's type, shape (row length first) and bytes in the memory map.
#[derive(Clone, Debug)]
pub struct RawTensor<'a> {
    /// Storage type.
    pub ty: GgmlType,
    /// Elements per dimension, the row length first.
    pub dims: Vec<u64>,
    /// The bytes, mapped.
    pub bytes: &'a [u8],
}

impl Checkpoint {
    /// Opens what is at a path: a folder with `config.json`, the `config.json` itself, or a GGUF file.
    ///
    /// # Errors
    /// It is neither, is damaged, or of a family that we do not know.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        if path.file_name().is_some_and(|name| name == CONFIG) {
            return Ok(Self::Hf(HfModel::open(path.parent().unwrap_or(Path::new(".")))?));
        }
        if path.is_dir() {
            return Ok(Self::Hf(HfModel::open(path)?));
        }
        let gguf = Gguf::open(path)?;
        let arch = Architecture::read(&gguf)
            .map_err(|cause| CheckpointError::Arch { path: path.to_owned(), cause })?;
        Ok(Self::Gguf { gguf, arch })
    }

    /// The file or folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Gguf { gguf, .. } => gguf.path(),
            Self::Hf(model) => model.folder(),
        }
    }

    /// The sizes.
    #[must_use]
    pub fn arch(&self) -> &Architecture {
        match self {
            Self::Gguf { arch, .. } => arch,
            Self::Hf(model) => &model.arch,
        }
    }

    /// What is added to the mean square before its root is taken.
    #[must_use]
    pub fn eps(&self) -> f32 {
        match self {
            Self::Gguf { gguf, arch } => gguf
                .metadata()
                .get(&format!("{}.attention.layer_norm_rms_epsilon", arch.kind.name()))
                .and_then(MetaValue::as_f32)
                .unwrap_or(1e-6),
            Self::Hf(model) => model.config.eps,
        }
    }

    /// The rotary embedding, for the layout of Q and K that this checkpoint has.
    #[must_use]
    pub fn rope(&self) -> Rope {
        match self {
            Self::Gguf { gguf, arch } => gguf_rope(gguf, arch),
            Self::Hf(model) => model.rope.clone(),
        }
    }

    /// A tensor by its GGUF name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<RawTensor<'_>> {
        match self {
            Self::Gguf { gguf, .. } => {
                let info = gguf.tensor(name)?;
                Some(RawTensor { ty: info.ty, dims: info.dims.clone(), bytes: gguf.bytes(info) })
            }
            Self::Hf(model) => {
                let placed = model.shards.find(&hf_name(name)?)?;
                Some(RawTensor {
                    ty: placed.ty,
                    dims: placed.dims.clone(),
                    bytes: model.shards.bytes(placed),
                })
            }
        }
    }

    /// A tensor that must be there.
    ///
    /// # Errors
    /// It is not.
    pub fn require(&self, name: &str) -> Result<RawTensor<'_>, CheckpointError> {
        self.find(name).ok_or_else(|| CheckpointError::NoTensor {
            path: self.path().to_owned(),
            tensor: match self {
                Self::Gguf { .. } => name.to_owned(),
                Self::Hf(_) => hf_name(name).unwrap_or_else(|| name.to_owned()),
            },
        })
    }

    /// A tensor's bytes read into memory by positional reads, which leaves the map as it is.
    ///
    /// # Errors
    /// There is no such tensor, or the file cannot be read.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, CheckpointError> {
        match self {
            Self::Gguf { gguf, .. } => {
                let info = gguf.require(name)?;
                let mut buffer = vec![0; usize::try_from(info.bytes()).unwrap_or(usize::MAX)];
                gguf.read_at(info, 0, &mut buffer)?;
                Ok(buffer)
            }
            Self::Hf(model) => {
                let own = hf_name(name).unwrap_or_else(|| name.to_owned());
                let placed = model.shards.find(&own);
                let placed = placed.ok_or_else(|| CheckpointError::NoTensor {
                    path: self.path().to_owned(),
                    tensor: own.clone(),
                })?;
                Ok(model.shards.read(placed)?)
            }
        }
    }

    /// The tokenizer.
    ///
    /// # Errors
    /// It is missing or of a kind that we do not know, or has more tokens than the model's vocabulary.
    pub fn tokenizer(&self) -> Result<TokenizerFacts, CheckpointError> {
        let fail = |cause| CheckpointError::Tokenizer { path: self.path().to_owned(), cause };
        let facts = match self {
            Self::Gguf { gguf, .. } => TokenizerFacts::of_gguf(gguf.metadata()).map_err(fail)?,
            Self::Hf(model) => {
                let json = model.tokenizer_json()?;
                TokenizerFacts::of_hf(&json, &model.config.end, model.config.begin).map_err(fail)?
            }
        };
        let (tokens, vocabulary) = (facts.tokens, u64::from(self.arch().vocab));
        if tokens > vocabulary {
            return Err(fail(TokenizerError::Vocabulary { tokens, vocabulary }));
        }
        Ok(facts)
    }

    /// Bytes of the file or files.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        match self {
            Self::Gguf { gguf, .. } => gguf.len(),
            Self::Hf(model) => model.shards.total_bytes(),
        }
    }
}

fn gguf_rope(gguf: &Gguf, arch: &Architecture) -> Rope {
    let key = |name: &str| gguf.metadata().get(&format!("{}.rope.{name}", arch.kind.name()));
    let number = |name: &str| key(name).and_then(MetaValue::as_f32).map(f64::from);
    let original = key("scaling.original_context_length")
        .and_then(MetaValue::as_u64)
        .map_or(f64::from(arch.context_length), |n| n as f64);
    let floats = |name: &str| {
        let tensor = gguf.tensor(name).filter(|t| t.ty == GgmlType::F32)?;
        let bytes = gguf.bytes(tensor);
        Some(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect::<Vec<f32>>())
    };
    // The older name of the linear factor counts where the newer is silent, as in llama.cpp.
    let factor = number("scaling.factor").or_else(|| number("scale_linear")).filter(|f| *f > 0.0);
    let attention = number("scaling.attn_factor");
    let kind = key("scaling.type").and_then(MetaValue::as_str);
    let pair = (floats("rope_factors_short.weight"), floats("rope_factors_long.weight"));
    let scaling = match (floats("rope_freqs.weight"), kind, pair) {
        (Some(mut factors), ..) => {
            // llama.cpp applies both.
            let linear = factor.filter(|_| matches!(kind, None | Some("linear"))).unwrap_or(1.0);
            factors.iter_mut().for_each(|f| *f *= linear as f32);
            RopeScaling::Factors { factors, attention: attention.unwrap_or(1.0) }
        }
        (None, Some("longrope"), (Some(short), Some(long))) => {
            RopeScaling::LongRope { short, long, original, attention: attention.unwrap_or(1.0) }
        }
        (None, Some("yarn"), _) => {
            let factor = factor.unwrap_or(1.0);
            RopeScaling::Yarn {
                factor,
                original,
                // llama.cpp's llama, qwen2 and deci read no others.
                beta_fast: 32.0,
                beta_slow: 1.0,
                // llama.cpp multiplies YaRN's own temperature by it.
                attention: attention.map(|a| a * yarn_temperature(factor)),
                truncate: true,
            }
        }
        (None, None | Some("linear"), _) => {
            factor.filter(|f| *f != 1.0).map_or(RopeScaling::None, |factor| RopeScaling::Linear { factor })
        }
        _ => RopeScaling::None,
    };
    Rope { base: f64::from(arch.rope_base), pairing: arch.kind.rope_pairing(), scaling }
}
