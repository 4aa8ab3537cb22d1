//! What needs gradients: first-order importance, and recovery by distillation.

mod distill;
mod gradients;
mod graph;
mod optimizer;
mod rounding;
mod state;
mod teacher;
mod write;

use std::path::Path;

use tch::TchError;

use super::Torch;
use super::error::text;
use autotune_engine::lab::{Lab, LayerGradients, RecoverProgress, RecoverRequest};
use autotune_engine::{EngineError, Token};
use autotune_model::Checkpoint;

impl Lab for Torch {
    fn gradients(
        &self,
        model: &Path,
        text: &str,
        max_tokens: u32,
        threads: u32,
    ) -> Result<Vec<LayerGradients>, EngineError> {
        gradients::gradients(model, text, max_tokens, threads)
    }

    fn recover(
        &self,
        request: &RecoverRequest,
        each: &mut dyn FnMut(RecoverProgress) -> bool,
    ) -> Result<RecoverProgress, EngineError> {
        distill::recover(request, each)
    }
}

/// Opens a checkpoint with its text's tokens.
fn open(path: &Path, content: &str) -> Result<(Checkpoint, Vec<Token>), EngineError> {
    let fail = |detail: String| EngineError::Load { path: path.display().to_string(), detail };
    let checkpoint = Checkpoint::open(path).map_err(|e| fail(e.to_string()))?;
    let facts = checkpoint.tokenizer().map_err(|e| fail(e.to_string()))?;
    let tokens = super::vocabulary::Vocabulary::new(&facts)?.encode(content, false)?;
    Ok((checkpoint, tokens))
}

/// A failure of the library while something is trained.
fn failed(what: &'static str) -> impl Fn(TchError) -> EngineError {
    move |error| EngineError::Misuse(format!("{what}: {}", text(&error)))
}
