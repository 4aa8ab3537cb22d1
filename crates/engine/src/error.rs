//! The ways in which an engine fails.

use super::kind::TORCH_WORKER;
use super::{Token, finite};

/// Why an engine failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A build without this engine.
    #[error("this build has no {engine} engine; build with `--features {feature}`")]
    NotCompiled {
        /// The engine asked for.
        engine: &'static str,
        /// The cargo feature that brings it.
        feature: &'static str,
    },
    /// The torch engine was asked of a program that does not hold it.
    #[error("the torch engine runs in {TORCH_WORKER} only")]
    Elsewhere,
    /// The torch engine's program is not where it belongs.
    #[error(
        "the torch engine's program is missing ({path}); `cargo build --release -p autotune-torch` builds it; it must be in the same directory as autotune"
    )]
    NoWorker {
        /// Where it would be.
        path: String,
    },
    /// The artifact does not load.
    #[error("failed to load {path}: {detail}")]
    Load {
        /// The artifact.
        path: String,
        /// The library's last words.
        detail: String,
    },
    /// No context for these settings.
    #[error("failed to create a context of {sequences} x {context} tokens (K {kv_k}, V {kv_v}): {detail}")]
    Context {
        /// Sequences asked for.
        sequences: u32,
        /// Tokens of each.
        context: u32,
        /// K type.
        kv_k: &'static str,
        /// V type.
        kv_v: &'static str,
        /// The library's last words.
        detail: String,
    },
    /// A decode call failed.
    #[error("failed to decode {rows} tokens: {detail}")]
    Decode {
        /// Rows in the call.
        rows: usize,
        /// What the library returned.
        detail: String,
    },
    /// A text or token that cannot be converted.
    #[error("failed to tokenize: {0}")]
    Tokenize(String),
    /// Logits that are NaN or infinite.
    #[error("{}the logits {place} hold {} (token {token} of the vocabulary)", finite::NOT_A_NUMBER, finite::word(f64::from(*value)))]
    NotFinite {
        /// Of what: "at position 7 of window 2".
        place: String,
        /// The first entry that is none.
        token: Token,
        /// Its value.
        value: f32,
    },
    /// A request that the session was not made for.
    #[error("{0}")]
    Misuse(String),
}

/// Refuses logits that are NaN or infinite; `place` follows "the logits".
///
/// # Errors
/// [`EngineError::NotFinite`].
pub fn check_finite(logits: &[f32], place: impl FnOnce() -> String) -> Result<(), EngineError> {
    match finite::first_in(logits) {
        None => Ok(()),
        Some((token, value)) => Err(EngineError::NotFinite { place: place(), token, value }),
    }
}
