//! CodeBLEU: how close an answer is to a reference, in tokens, in syntax and in the flow of values.
//!
//! Two sets of rules. [`Mode::Published`] gives the numbers of PyPI `codebleu` 0.7.0, quirks included, so that results can be compared
//! with published ones. [`Mode::Sound`], the default, ranks answers: formatting does not decide, an answer without data flow earns
//! nothing for it, and the data-flow rules fit the grammars. `docs/src/explanation/codebleu.md` lists the differences.
//!
//! Scores depend on nothing but the texts, and take time and memory close to linear in them: hostile input can be long, but neither
//! exponential nor too deep.

mod dataflow;
mod error;
mod hash;
mod keywords;
mod language;
mod lexer;
mod ngram;
mod published;
mod python_tokens;
mod score;
mod sexp;
mod sound;
mod strip;
mod syntax;
mod text;
mod tree;

pub use self::error::CodeBleuError;
pub use self::language::Language;
pub use self::score::{CodeBleu, Mode, References, Weights, score, syntax_valid};
