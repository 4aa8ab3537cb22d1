//! What the study's end left for the report: which parameters moved each objective, and the region that was searched.

use serde::Deserialize;

use super::summary::Analysis;

/// The note that keeps the Sobol indices of the fitted surrogate.
pub const IMPORTANCE_NOTE: &str = "importance";
/// The note that keeps the bounds of the region of interest.
pub const REGION_NOTE: &str = "region";

/// Sobol indices, as the note has them.
#[derive(Debug, Deserialize)]
pub(super) struct Moved {
    /// Complete trials that the surrogate was fitted to.
    pub(super) trials: usize,
    /// For each objective.
    pub(super) objectives: Vec<MovedObjective>,
}

/// Of one objective.
#[derive(Debug, Deserialize)]
pub(super) struct MovedObjective {
    pub(super) metric: String,
    pub(super) parameters: Vec<MovedBy>,
}

/// Shares of its variance that a parameter explains.
#[derive(Debug, Deserialize)]
pub(super) struct MovedBy {
    pub(super) name: String,
    pub(super) first: f64,
    pub(super) total: f64,
}

/// A bound of the region.
#[derive(Debug, Deserialize)]
pub(super) struct Bound {
    pub(super) metric: String,
    pub(super) bound: f64,
    pub(super) derived: bool,
}

/// The indices, where the study kept any.
pub(super) fn moved(analysis: &Analysis) -> Option<Moved> {
    serde_json::from_str(analysis.notes.get(IMPORTANCE_NOTE)?).ok()
}

/// The bound of an objective, where the study kept one.
pub(super) fn bound(analysis: &Analysis, metric: &str) -> Option<Bound> {
    let all: Vec<Bound> = serde_json::from_str(analysis.notes.get(REGION_NOTE)?).ok()?;
    all.into_iter().find(|b| b.metric == metric)
}
