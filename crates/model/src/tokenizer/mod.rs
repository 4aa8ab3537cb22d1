//! Tokenizers of both formats: the metadata of a GGUF file and the `tokenizer.json` of Hugging Face, turned into each other.
//!
//! Known are byte-level BPE (GPT-2's, with the splits that llama.cpp names `smollm`, `qwen2`, `llama-bpe` and the like) and
//! SentencePiece's BPE with byte fallback. What encodes and decodes is the engine's business.

mod of_gguf;
mod to_gguf;

pub use to_gguf::gguf_entries;

use serde_json::Value;

use super::gguf::Metadata;

/// What an engine needs to know of a tokenizer.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenizerFacts {
    /// The tokenizer as `tokenizer.json` has it.
    pub json: Value,
    /// The highest token and one.
    pub tokens: u64,
    /// Tokens that end a text: those that the model states in its order, then those known by their names.
    pub end: Vec<u32>,
    /// The token that begins a text, where a text begins with one.
    pub begin: Option<u32>,
    /// Tokens that stand for no text.
    pub control: Vec<u32>,
    /// Whether tokens are bytes written as letters (GPT-2's way), rather than text with `▁` for spaces.
    pub byte_level: bool,
}

/// A tokenizer that we cannot use.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum TokenizerError {
    #[error("the tokenizer lacks `{0}`")]
    Missing(&'static str),
    #[error("the tokenizer is of the kind `{found}`; known are {known}")]
    Kind { found: String, known: &'static str },
    #[error("the tokenizer is not valid JSON ({0})")]
    Json(serde_json::Error),
    #[error(
        "the model ends a text at the tokens {ends:?}; a GGUF file has no place for {token}: delete it from `eos_token_id` if it is never written"
    )]
    Ends { token: u32, ends: Vec<u32> },
    #[error(
        "the tokenizer has {tokens} tokens, but the model's vocabulary has {vocabulary}; it belongs to another model"
    )]
    Vocabulary { tokens: u64, vocabulary: u64 },
}

/// Tokens that end a generation under whatever name a model gives them, as llama.cpp has them.
const ENDS: [&str; 21] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<|fim_pad|>",
    "<fim_pad>",
    "<|fim_repo|>",
    "<|repo_name|>",
    "<reponame>",
    "<|file_sep|>",
    "<|return|>",
];

impl TokenizerFacts {
    /// Reads the tokenizer of a GGUF file.
    ///
    /// # Errors
    /// A key is missing, or the tokenizer is of a kind that we do not know.
    pub fn of_gguf(metadata: &Metadata) -> Result<Self, TokenizerError> {
        of_gguf::read(metadata)
    }

    /// Reads a `tokenizer.json`; `end` and `begin` are what `config.json` says.
    ///
    /// # Errors
    /// No JSON, or no BPE.
    pub fn of_hf(text: &str, end: &[u32], begin: Option<u32>) -> Result<Self, TokenizerError> {
        let json: Value = serde_json::from_str(text).map_err(TokenizerError::Json)?;
        let kind = json.pointer("/model/type").and_then(Value::as_str).unwrap_or("BPE");
        if kind != "BPE" {
            return Err(TokenizerError::Kind { found: kind.to_owned(), known: "BPE" });
        }
        let vocab = json.pointer("/model/vocab").and_then(Value::as_object);
        let vocab = vocab.ok_or(TokenizerError::Missing("model.vocab"))?;
        let id = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
        let mut highest = vocab.values().filter_map(id).max().unwrap_or(0);
        let (mut control, mut ends) = (Vec::new(), end.to_vec());
        for added in json.get("added_tokens").and_then(Value::as_array).into_iter().flatten() {
            let Some(token) = added.get("id").and_then(id) else { continue };
            highest = highest.max(token);
            if added.get("special").and_then(Value::as_bool) == Some(true) {
                control.push(token);
                let name = added.get("content").and_then(Value::as_str).unwrap_or_default();
                if ENDS.contains(&name) {
                    ends.push(token);
                }
            }
        }
        keep_first(&mut ends);
        // A text begins with a token where the post-processor says so.
        let begin = begin.filter(|_| json.get("post_processor").is_some_and(begins));
        let byte_level = json.get("decoder").is_some_and(|d| mentions(d, "ByteLevel"));
        Ok(Self { tokens: u64::from(highest) + 1, end: ends, begin, control, byte_level, json })
    }
}

/// Of equal tokens keeps the first.
fn keep_first(tokens: &mut Vec<u32>) {
    let mut seen = std::collections::BTreeSet::new();
    tokens.retain(|token| seen.insert(*token));
}

/// Whether a post-processor puts something before a text.
fn begins(processor: &Value) -> bool {
    let first = processor.pointer("/single/0").is_some_and(|s| s.get("SpecialToken").is_some());
    first || processor.get("processors").and_then(Value::as_array).is_some_and(|all| all.iter().any(begins))
}

/// Whether a part of the given type occurs.
fn mentions(value: &Value, kind: &str) -> bool {
    match value {
        Value::Object(map) => {
            map.get("type").and_then(Value::as_str) == Some(kind) || map.values().any(|v| mentions(v, kind))
        }
        Value::Array(all) => all.iter().any(|v| mentions(v, kind)),
        _ => false,
    }
}
