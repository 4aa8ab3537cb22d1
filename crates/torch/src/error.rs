//! libtorch's exceptions in the engine's words.

use tch::TchError;

use autotune_engine::EngineError;

/// The first line of an exception: what follows is the stack of the library.
pub(super) fn text(error: &TchError) -> String {
    let whole = error.to_string();
    let first = whole.lines().find(|l| !l.trim().is_empty()).unwrap_or("libtorch gave no reason");
    first.trim().to_owned()
}

/// What failed while rows were decoded.
pub(super) fn decode(rows: usize) -> impl Fn(TchError) -> EngineError {
    move |error| EngineError::Decode { rows, detail: text(&error) }
}
