//! Grades: completions and logits in, scores out. Knows no engine's workings.

pub mod accuracy;
pub mod codebleu;
pub mod divergence;
pub mod estimate;
pub mod extract;
pub mod passk;
pub mod proof;
pub mod tasks;
