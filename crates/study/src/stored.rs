//! A study as the store holds it, in the sampler's words; and as a problem of its own, for questions that need no model.

use autotune_core::metric::names;
use serde::{Deserialize, Serialize};

use super::estimates::Known;
use super::presets;
use autotune_core::space::{Candidate, Point, Space};
use autotune_quality::estimate::Estimates;
use autotune_search as search;
use autotune_search::{Direction, Estimate, History, Observation, Problem, Region};
use autotune_store as store;
use autotune_store::{Objective, StudyRecord, TrialRecord};

/// The metric that stands for divergence in a sampler's history.
const PROXY: &str = names::KL_MEAN;
/// The metric that the budget bounds.
const PEAK: &str = names::PEAK_MEMORY_BYTES;

/// The objectives with the bounds that are known by now.
pub(super) fn objectives(
    declared: &[Objective],
    budget_bytes: u64,
    trials: &[TrialRecord],
) -> Vec<search::Objective> {
    let one = |o: &Objective| {
        let bound = o.resolved(trials).bound;
        search::Objective {
            name: o.metric.clone(),
            direction: match o.direction {
                store::Direction::Min => Direction::Minimize,
                store::Direction::Max => Direction::Maximize,
            },
            bound: if o.metric == PEAK { bound.or(Some(budget_bytes as f64)) } else { bound },
            log_scale: o.log,
        }
    };
    declared.iter().map(one).collect()
}

/// Where a candidate stands: at its own point, or outside the space (a preset) at the nearest one. The user's own quantized file has none: it
/// answers as the reference that was made from it, and no point of its few bits does.
pub(super) fn place(candidate: &Candidate, space: &Space) -> Point {
    if let Some(point) = space.point(candidate) {
        return point;
    }
    if presets::is_as_shipped(candidate) {
        return Point::new();
    }
    space.nearest_point(&presets::in_space(candidate, space))
}

/// What was tried so far. A pass rate is observed as it is estimated from everything `known`, with the error of the loss alone: that the
/// tasks are hard or easy for all carries no information about one candidate.
pub(super) fn history(
    space: &Space,
    declared: &[Objective],
    trials: &[TrialRecord],
    known: &Known,
) -> History {
    let estimates: Vec<_> = declared.iter().map(|o| known.estimates(&o.metric, trials)).collect();
    let estimate = |trial: &TrialRecord, metric: &str| {
        let m = trial.measurements.get(metric)?;
        let value = m.value?;
        Some(Estimate { value, low: m.low.unwrap_or(value), high: m.high.unwrap_or(value) })
    };
    let objective = |trial: &TrialRecord, o: &Objective, estimates: &Option<Estimates>| match estimates
        .as_ref()
        .and_then(|e| e.get(trial.number))
    {
        Some(e) => Some(Estimate {
            value: e.value,
            low: e.value + e.loss - e.loss_high,
            high: e.value + e.loss - e.loss_low,
        }),
        None => estimate(trial, &o.metric),
    };
    let observe = |trial: &TrialRecord| Observation {
        number: trial.number,
        exact: space.point(&trial.candidate).is_some(),
        point: place(&trial.candidate, space),
        state: match trial.state {
            store::TrialState::Complete => search::TrialState::Complete,
            store::TrialState::Stopped => search::TrialState::Partial,
            store::TrialState::Infeasible => search::TrialState::Infeasible,
            store::TrialState::Failed => search::TrialState::Failed,
            store::TrialState::Queued | store::TrialState::Running => search::TrialState::Running,
        },
        objectives: declared.iter().zip(&estimates).map(|(o, e)| objective(trial, o, e)).collect(),
        proxies: vec![estimate(trial, PROXY)],
        repeats: (trial.state == store::TrialState::Complete && trial.artifact.is_some())
            .then_some(trial.repeats),
    };
    History { observations: trials.iter().map(observe).collect() }
}

/// The worst value of an objective that is of interest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegionBound {
    /// The objective's metric.
    pub metric: String,
    /// In the metric's unit.
    pub bound: f64,
    /// Whether it follows from the first measurements, since none was given.
    pub derived: bool,
}

/// The region of interest of a stored study; empty while it is not known.
///
/// # Errors
/// The stored space or objectives are not what this version reads.
pub fn region(
    study: &StudyRecord,
    trials: &[TrialRecord],
    known: &Known,
) -> anyhow::Result<Vec<RegionBound>> {
    let problem = StoredProblem::of(study, trials)?;
    let Some(region) = Region::of(&problem, &problem.history(trials, known)) else { return Ok(Vec::new()) };
    let bound = |(i, o): (usize, &search::Objective)| RegionBound {
        metric: o.name.clone(),
        bound: o.value(region.reference[i]),
        derived: region.derived[i],
    };
    Ok(problem.objectives.iter().enumerate().map(bound).collect())
}

/// A study without its model: nothing is predicted, and everything might fit.
pub struct StoredProblem {
    space: Space,
    objectives: Vec<search::Objective>,
    declared: Vec<Objective>,
}

impl StoredProblem {
    /// The problem that a study's trials were proposed for.
    ///
    /// # Errors
    /// The stored space or objectives are not what this version reads.
    pub fn of(study: &StudyRecord, trials: &[TrialRecord]) -> anyhow::Result<Self> {
        let space: Space = serde_json::from_str(&study.space_json)?;
        let declared: Vec<Objective> = serde_json::from_str(&study.objectives_json)?;
        Ok(Self { objectives: objectives(&declared, study.budget_bytes, trials), space, declared })
    }

    /// Its trials.
    #[must_use]
    pub fn history(&self, trials: &[TrialRecord], known: &Known) -> History {
        history(&self.space, &self.declared, trials, known)
    }
}

impl Problem for StoredProblem {
    fn space(&self) -> &Space {
        &self.space
    }

    fn objectives(&self) -> &[search::Objective] {
        &self.objectives
    }

    fn feasible(&self, _point: &[usize]) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use autotune_core::space::{Param, ParamKind, Value};

    #[test]
    fn the_users_own_file_has_no_place_among_what_is_made_of_it() {
        let text = |names: &[&str]| names.iter().map(|n| Value::Text((*n).into())).collect();
        let param = |name: &str, names: &[&str]| Param {
            name: name.into(),
            kind: ParamKind::Ordinal,
            levels: text(names),
        };
        let params = vec![
            param("weights.attn", &["Q4_0", "Q5_K", "Q8_0"]),
            param("weights.ffn", &["Q4_0", "Q6_K", "Q8_0"]),
        ];
        let space = Space { name: "s".into(), description: String::new(), params };
        let of = |preset: &str| {
            let candidate = Candidate::default().with("weights.preset", Value::Text(preset.into()));
            place(&candidate, &space)
        };
        assert_eq!(of("as-shipped"), Point::new());
        assert_eq!(of("Q8_0"), [2, 2]);
        // What a model's rows do not allow is replaced by more bits.
        assert_eq!(of("Q6_K"), [2, 1]);
        assert_eq!(of("Q4_0"), [0, 0]);
        assert_eq!(place(&space.candidate(&[1, 0]).unwrap(), &space), [1, 0]);
    }
}
