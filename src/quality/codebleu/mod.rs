//! CodeBLEU.

mod dataflow;
mod error;
mod hash;
mod keywords;
mod language;
mod ngram;
mod published;
mod python_tokens;
mod sexp;
mod strip;
mod syntax;
mod text;
mod tree;

pub use self::error::CodeBleuError;
pub use self::language::Language;
