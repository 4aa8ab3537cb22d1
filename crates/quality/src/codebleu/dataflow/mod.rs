//! Data-flow match: which value relations of the reference occur in the prediction. Ren et al., "CodeBLEU", 2020, section 3.3; the
//! rules of what relates to what come from GraphCodeBERT's data-flow extraction (Guo et al., 2021).
//!
//! A source becomes a tree, a [`program`] of uses and definitions (by the rules of [`published`] or [`sound`]), a [`flow`], and at
//! last relations between variables.

mod builder;
mod flow;
mod program;
pub(super) mod published;
pub(super) mod sound;
mod tokens;
