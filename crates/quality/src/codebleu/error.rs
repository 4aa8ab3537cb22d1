//! What can be wrong with a grading request.

use thiserror::Error;

use super::language::Language;

/// Why nothing was scored.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum CodeBleuError {
    /// The name of no language.
    #[error("unknown language {0:?}: use one of {list}", list = Language::ALL.map(Language::name).join(", "))]
    UnknownLanguage(String),
    /// A language that the published package does not know.
    #[error("the published score has no language {0}: leave the published mode, or use one of {list}", list = published())]
    NotPublished(Language),
    /// There is nothing to compare with.
    #[error("no reference: give at least one")]
    NoReference,
    /// Weights that are no weights.
    #[error(
        "weights {0:?}: use four finite numbers of 0 or more that are not all 0, for example 0.25,0.25,0.25,0.25"
    )]
    Weights(Vec<f64>),
}

fn published() -> String {
    let names: Vec<_> = Language::ALL.into_iter().filter(|l| l.is_published()).map(Language::name).collect();
    names.join(", ")
}
