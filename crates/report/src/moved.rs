//! Notes of a finished study for the report: parameter importance per objective, and the region that was searched.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::influence::Influence;
use super::summary::Analysis;
use autotune_study::sensitivity::{Choice, SENSITIVITY_NOTE, Sensitivities};

/// The note that keeps the Sobol indices of the fitted surrogate.
pub const IMPORTANCE_NOTE: &str = "importance";
/// The note that keeps the bounds of the region of interest.
pub const REGION_NOTE: &str = "region";

/// The note that names the tasks which a study is graded by.
pub const TASKS_NOTE: &str = "graded_tasks";

/// Sobol indices, as the note has them.
#[derive(Debug, Deserialize)]
struct Moved {
    objectives: Vec<Influence>,
}

/// A bound of the region.
#[derive(Debug, Deserialize)]
pub(super) struct Bound {
    pub(super) metric: String,
    pub(super) bound: f64,
    pub(super) derived: bool,
}

/// The indices of each objective, where the study kept any.
pub(super) fn influence(notes: &BTreeMap<String, String>) -> Vec<Influence> {
    let kept = notes.get(IMPORTANCE_NOTE).and_then(|text| serde_json::from_str::<Moved>(text).ok());
    kept.map_or_else(Vec::new, |moved| moved.objectives)
}

/// Sensitivity of single choices, by parameter, where the study probed it.
pub(super) fn sensitivities(notes: &BTreeMap<String, String>) -> BTreeMap<String, Vec<Choice>> {
    let kept = notes.get(SENSITIVITY_NOTE).and_then(|t| serde_json::from_str::<Sensitivities>(t).ok());
    kept.map_or_else(BTreeMap::new, |s| s.by)
}

/// The bound of an objective, where the study kept one.
pub(super) fn bound(analysis: &Analysis, metric: &str) -> Option<Bound> {
    let all: Vec<Bound> = serde_json::from_str(analysis.notes.get(REGION_NOTE)?).ok()?;
    all.into_iter().find(|b| b.metric == metric)
}
