//! Quality as an estimate from everything that is known of a candidate, in place of one noisy pass rate.
//!
//! The true loss of candidate *i* is `d_i = p_ref - p_i`, the uncompressed model's pass rate less its own, both over tasks like those
//! that were graded. Three sources tell of it:
//!
//! - **Verdicts**, paired by task with the reference's (`likelihood`): flips in both directions happen without any change of the rate,
//!   so only their imbalance speaks for a loss.
//! - **Damage** (`damage`): the divergence from the reference, corrected by teacher-forced likelihood and next-line agreement.
//! - **The relation of both** (`relation`), whose scale, scatter and share of exceptions are learned across the candidates of the study
//!   (empirical Bayes: Robbins 1956; Efron and Morris 1975) from a weakly informative start. Compression that follows the relation
//!   does not improve a model; a candidate may be an exception, in either direction, when its own verdicts say so strongly enough.
//!
//! The posterior (`posterior`) is computed on a grid and kept as joint draws, so that two candidates are compared under the same
//! relation. Everything is a pure function of the evidence; the order of the candidates changes nothing.

mod damage;
mod likelihood;
mod posterior;
mod power;
mod relation;

pub use damage::{Signal, combined};
pub use likelihood::{Observed, Table};
pub use posterior::{Estimate, Estimates};
pub use power::{distinguishable_from, tasks_needed};

/// What is known of one candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// How it was graded.
    pub observed: Observed,
    /// How far it is from the reference, on the scale of a divergence in nats a token; none where nothing was measured.
    pub damage: Option<f64>,
    /// Whether it is the uncompressed model itself, whose loss is zero by definition.
    pub is_reference: bool,
}

/// How the uncompressed model did on the study's tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Tasks that it solved.
    pub passed: u64,
    /// Tasks that it was graded on.
    pub tasks: u64,
}
