//! Why a text is no space.

use std::path::PathBuf;

/// A space file that cannot be used, with the place, the value found and what would be allowed. (Boxed texts keep results small.)
#[derive(Debug, thiserror::Error)]
pub enum SpaceFileError {
    /// Neither a preset nor a file.
    #[error("`{spec}` is neither a preset nor a file{}; presets: {presets}", meant(hint))]
    NotFound {
        /// What the user said.
        spec: Box<str>,
        /// The nearest preset.
        hint: Option<Box<str>>,
        /// Every preset.
        presets: Box<str>,
    },
    /// The file cannot be read.
    #[error("cannot read the space file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("{file}:{line}:{column}: not valid TOML: {message}")]
    Syntax {
        /// File or preset.
        file: Box<str>,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// What the parser says.
        message: Box<str>,
    },
    /// A key that means nothing.
    #[error("{file}:{line}: unknown key `{key}`{}; known: {known}", meant(hint))]
    UnknownKey {
        /// File or preset.
        file: Box<str>,
        /// Line, from 1.
        line: usize,
        /// The key with its tables.
        key: Box<str>,
        /// The nearest known key.
        hint: Option<Box<str>>,
        /// The keys known at this place.
        known: Box<str>,
    },
    /// A known key with a value that it does not take.
    #[error("{file}:{line}: `{key}` has the value `{found}`{}, but takes {allowed}", meant(hint))]
    Value {
        /// File or preset.
        file: Box<str>,
        /// Line, from 1.
        line: usize,
        /// The key with its tables.
        key: Box<str>,
        /// The value as it is written.
        found: Box<str>,
        /// The nearest allowed word.
        hint: Option<Box<str>>,
        /// What is allowed.
        allowed: Box<str>,
    },
    /// Levels that depend on a model, and no model.
    #[error(
        "{file}:{line}: `{key}` takes its levels from the model, but none is known here; list the levels instead"
    )]
    NeedsModel {
        /// File or preset.
        file: Box<str>,
        /// Line, from 1.
        line: usize,
        /// The key with its tables.
        key: Box<str>,
    },
    /// No level is left on this machine, for this model and workload.
    #[error("{file}:{line}: `{key}` has no level left: {why}")]
    NoLevel {
        /// File or preset.
        file: Box<str>,
        /// Line, from 1.
        line: usize,
        /// The key with its tables.
        key: Box<str>,
        /// Why every level fell.
        why: Box<str>,
    },
    /// A file that declares nothing.
    #[error("{file} declares no parameter; known: {known}")]
    NoParameter {
        /// File or preset.
        file: Box<str>,
        /// Every parameter.
        known: Box<str>,
    },
}

fn meant(hint: &Option<Box<str>>) -> String {
    hint.as_ref().map_or_else(String::new, |word| format!(" (did you mean `{word}`?)"))
}
