//! What a GGUF file is: a language model, or one of the other things that are kept in the same format.

use std::fmt;

use super::gguf::{MetaValue, Metadata, TensorInfo};

/// What a GGUF file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A language model, as far as the header tells.
    LanguageModel,
    /// The difference that a fine-tuning makes to a model (LoRA, control vector).
    Adapter {
        /// `adapter.type`, or `controlvector`.
        kind: String,
    },
    /// The importance of a model's columns (`llama-imatrix`).
    ImportanceMatrix,
    /// The part of a multimodal model that turns images or sound into embeddings.
    Projector,
    /// A tokenizer without weights.
    Vocabulary,
    /// Something else that names itself.
    Other {
        /// `general.type`.
        kind: String,
    },
    /// No keys of a model and no tensors of one.
    Unknown,
}

/// What the file with this header is.
#[must_use]
pub fn kind_of_file(metadata: &Metadata, tensors: &[TensorInfo]) -> FileKind {
    FileKind::of(metadata, tensors)
}

impl FileKind {
    /// What the file with this header is. `general.type` counts first, then what the keys and tensors show: older tools wrote no type.
    #[must_use]
    pub fn of(metadata: &Metadata, tensors: &[TensorInfo]) -> Self {
        let text = |key: &str| metadata.get(key).and_then(MetaValue::as_str);
        let has_key = |prefix: &str| metadata.iter().any(|(key, _)| key.starts_with(prefix));
        let has_tensor = |suffix: &str| tensors.iter().any(|t| t.name.ends_with(suffix));
        let architecture = text("general.architecture");
        let adapter = || Self::Adapter { kind: text("adapter.type").unwrap_or("LoRA").to_owned() };
        match text("general.type") {
            Some("adapter") => return adapter(),
            Some("imatrix") => return Self::ImportanceMatrix,
            Some("mmproj") => return Self::Projector,
            Some("vocab") => return Self::Vocabulary,
            None | Some("model") => {}
            Some(kind) => return Self::Other { kind: kind.to_owned() },
        }
        if has_key("adapter.") || has_tensor(".lora_a") || has_tensor(".lora_b") {
            return adapter();
        }
        if architecture == Some("controlvector") || has_key("controlvector.") {
            return Self::Adapter { kind: "controlvector".to_owned() };
        }
        if has_key("imatrix.") || has_tensor(".in_sum2") {
            return Self::ImportanceMatrix;
        }
        if architecture == Some("clip") || has_key("clip.") {
            return Self::Projector;
        }
        match (architecture, tensors.is_empty(), has_key("tokenizer.")) {
            (_, true, true) => Self::Vocabulary,
            (None, ..) => Self::Unknown,
            (Some(_), ..) => Self::LanguageModel,
        }
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LanguageModel => f.write_str("the file is a language model"),
            Self::Adapter { kind } => write!(
                f,
                "the file is an adapter ({kind}), the difference that a fine-tuning makes, not a whole model; name the base model, or merge the two with llama-export-lora first"
            ),
            Self::ImportanceMatrix => f.write_str(
                "the file is an importance matrix (imatrix) that was measured on a model, not a model; name the model itself",
            ),
            Self::Projector => f.write_str(
                "the file is the projector (mmproj) of a multimodal model, not its language model; name the language model's file",
            ),
            Self::Vocabulary => f.write_str(
                "the file is a vocabulary alone, without any weights; name the model's file",
            ),
            Self::Other { kind } => {
                write!(f, "the file is of the type `{kind}`, not a language model; name the model's file")
            }
            Self::Unknown => f.write_str(
                "the file has no `general.architecture`: it is not a language model, or it is damaged; give the model's file",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GgmlType;
    use crate::gguf::{MetaArray, TensorDecl, header_bytes, parse_header};

    fn kind(keys: &[(&str, &str)], tensors: &[&str]) -> FileKind {
        let mut metadata = Metadata::default();
        for (key, value) in keys {
            metadata.set(key, MetaValue::Str((*value).to_owned()));
        }
        let tokens = MetaValue::Array(MetaArray::from_strings(&["a"]));
        metadata.set("tokenizer.ggml.tokens", tokens);
        let decls: Vec<TensorDecl> = tensors
            .iter()
            .map(|name| TensorDecl { name: (*name).to_owned(), dims: vec![4], ty: GgmlType::F32 })
            .collect();
        let header = parse_header(&header_bytes(&metadata, &decls, 32), 1 << 30).unwrap();
        FileKind::of(&header.metadata, &header.tensors)
    }

    #[test]
    fn files_that_are_no_language_model_are_told_by_type_and_without_one() {
        let llama = ("general.architecture", "llama");
        let lora = FileKind::Adapter { kind: "LoRA".into() };
        assert_eq!(kind(&[llama], &["token_embd.weight"]), FileKind::LanguageModel);
        assert_eq!(
            kind(&[llama, ("general.type", "model")], &["token_embd.weight"]),
            FileKind::LanguageModel
        );
        assert_eq!(kind(&[llama, ("general.type", "adapter")], &["x"]), lora);
        assert_eq!(kind(&[llama], &["blk.0.attn_q.weight.lora_a"]), lora);
        let vector = FileKind::Adapter { kind: "controlvector".into() };
        assert_eq!(kind(&[("general.architecture", "controlvector")], &["direction.1"]), vector);
        assert_eq!(kind(&[("general.type", "imatrix")], &["x"]), FileKind::ImportanceMatrix);
        assert_eq!(kind(&[], &["blk.0.attn_q.weight.in_sum2"]), FileKind::ImportanceMatrix);
        assert_eq!(kind(&[("general.architecture", "clip")], &["v.patch_embd.weight"]), FileKind::Projector);
        assert_eq!(kind(&[llama], &[]), FileKind::Vocabulary);
        assert_eq!(kind(&[("general.type", "dataset")], &["x"]), FileKind::Other { kind: "dataset".into() });
        assert_eq!(kind(&[], &["x"]), FileKind::Unknown);
    }
}
