//! Grades: completions and logits in, scores out. Knows no engine's workings.

pub mod divergence;
