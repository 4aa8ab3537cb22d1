//! Which parameters moved a study's objectives: Sobol indices of the surrogate fitted to its trials.

use serde::{Deserialize, Serialize};

use super::estimates::Known;
use super::stored::StoredProblem;
use autotune_search as search;
use autotune_search::Problem;
use autotune_store::{StudyRecord, TrialRecord};

/// Fewer complete trials carry no information about a space.
const LEAST_TRIALS: usize = 10;

/// Parameter importance per objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Importance {
    /// Complete trials that the model was fitted to.
    pub trials: usize,
    /// In the study's order.
    pub objectives: Vec<ObjectiveImportance>,
}

/// Parameter importance for one objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObjectiveImportance {
    /// The metric.
    pub metric: String,
    /// Every parameter of the space.
    pub parameters: Vec<ParameterImportance>,
}

/// Shares of an objective's variance over the space.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParameterImportance {
    /// The parameter.
    pub name: String,
    /// What it explains alone.
    pub first: f64,
    /// What it explains alone and together with others.
    pub total: f64,
}

impl Importance {
    /// The parameters' names, the one of the largest total first.
    #[must_use]
    pub fn by_weight(&self) -> Vec<&str> {
        let Some(first) = self.objectives.first() else { return Vec::new() };
        let most = |i: usize| self.objectives.iter().map(|o| o.parameters[i].total).fold(0.0, f64::max);
        let mut order: Vec<usize> = (0..first.parameters.len()).collect();
        order.sort_by(|&a, &b| most(b).total_cmp(&most(a)).then(a.cmp(&b)));
        order.into_iter().map(|i| first.parameters[i].name.as_str()).collect()
    }
}

/// The indices of a study; `None` while fewer than ten trials are complete.
///
/// # Errors
/// The stored space or objectives are not what this version reads.
pub fn importance(
    study: &StudyRecord,
    trials: &[TrialRecord],
    known: &Known,
) -> anyhow::Result<Option<Importance>> {
    let problem = StoredProblem::of(study, trials)?;
    let names: Vec<String> = problem.space().params.iter().map(|p| p.name.clone()).collect();
    let metrics: Vec<String> = problem.objectives().iter().map(|o| o.name.clone()).collect();
    let history = problem.history(trials, known);
    let complete = history.complete(&problem).len();
    if complete < LEAST_TRIALS {
        return Ok(None);
    }
    let parameters = |indices: Vec<search::Sobol>| {
        let one = |(name, s): (&String, search::Sobol)| ParameterImportance {
            name: name.clone(),
            first: s.first,
            total: s.total,
        };
        names.iter().zip(indices).map(one).collect()
    };
    Ok(search::importance(&problem, &history).map(|all| Importance {
        trials: complete,
        objectives: metrics
            .into_iter()
            .zip(all)
            .map(|(metric, indices)| ObjectiveImportance { metric, parameters: parameters(indices) })
            .collect(),
    }))
}
