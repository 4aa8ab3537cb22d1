//! What was tried and what came of it, as plain data: the only memory that a sampler has.

use std::collections::HashSet;

use super::Problem;
use autotune_core::space::{Point, Space};

/// A measured value with its 95 % interval, in the objective's own unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The best single number.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
}

impl Estimate {
    /// A value without noise.
    #[must_use]
    pub fn exact(value: f64) -> Self {
        Self { value, low: value, high: value }
    }
}

/// How far a trial got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialState {
    /// Every rung was taken.
    Complete,
    /// Cheap rungs only: stopped early. Some objectives are missing.
    Partial,
    /// It crashed, hung, or gave nonsense.
    Failed,
    /// It turned out not to fit.
    Infeasible,
    /// A worker is at it.
    Running,
}

/// One trial as the sampler sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// The trial's number; numbers grow.
    pub number: u64,
    /// The point, or the nearest one for a candidate outside the space (a preset), or none (empty) where no point is near.
    pub point: Point,
    /// Whether `point` is the candidate itself. A point that is only near was not tried, and may be asked.
    pub exact: bool,
    /// How far it got.
    pub state: TrialState,
    /// One entry for each objective, as far as measured.
    pub objectives: Vec<Option<Estimate>>,
    /// Measured cheap columns (a divergence), as far as measured; the same columns in every observation.
    pub proxies: Vec<Option<Estimate>>,
    /// How often it was re-timed ([`Problem::repeat`]); none where that cannot be done.
    pub repeats: Option<u32>,
}

impl Observation {
    /// Whether it is of a candidate outside the space that no point is near: it is to be beaten, and tells nothing of other points.
    #[must_use]
    pub fn has_no_place(&self) -> bool {
        !self.exact && self.point.is_empty()
    }

    /// The loss of one objective (see [`super::Objective::loss`]) when it was measured and is finite.
    #[must_use]
    pub fn loss(&self, problem: &dyn Problem, objective: usize) -> Option<f64> {
        if matches!(self.state, TrialState::Failed | TrialState::Infeasible | TrialState::Running) {
            return None;
        }
        let estimate = self.objectives.get(objective).copied().flatten()?;
        problem.objectives().get(objective)?.loss(estimate.value)
    }

    /// All losses, when every objective was measured and is finite.
    #[must_use]
    pub fn losses(&self, problem: &dyn Problem) -> Option<Vec<f64>> {
        (0..problem.objectives().len()).map(|i| self.loss(problem, i)).collect()
    }

    /// Half the width of the 95 % interval of an objective on the loss scale, divided by 1.96: a standard error.
    #[must_use]
    pub fn loss_error(&self, problem: &dyn Problem, objective: usize) -> Option<f64> {
        let estimate = self.objectives.get(objective).copied().flatten()?;
        let spec = problem.objectives().get(objective)?;
        let width = match (spec.loss(estimate.low), spec.loss(estimate.high)) {
            (Some(a), Some(b)) => (a - b).abs(),
            _ => return None,
        };
        Some(width / (2.0 * 1.96))
    }
}

/// All trials of a study, ordered by number.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// The trials.
    pub observations: Vec<Observation>,
}

impl History {
    /// The points that must not be asked again: every one that was tried, is being tried, failed, or did not fit.
    #[must_use]
    pub fn visited(&self) -> HashSet<Point> {
        self.observations.iter().filter(|o| o.exact).map(|o| o.point.clone()).collect()
    }

    /// The trials whose every objective is measured and finite, with their losses; those of points outside the space's
    /// shape are left out, unless they have no place at all.
    #[must_use]
    pub fn measured(&self, problem: &dyn Problem) -> Vec<(&Observation, Vec<f64>)> {
        self.observations
            .iter()
            .filter(|o| is_in_space(problem.space(), &o.point) || o.has_no_place())
            .filter_map(|o| Some((o, o.losses(problem)?)))
            .collect()
    }

    /// Those that have a place in the space, from which others can be reached and modelled.
    #[must_use]
    pub fn complete(&self, problem: &dyn Problem) -> Vec<(&Observation, Vec<f64>)> {
        let mut all = self.measured(problem);
        all.retain(|(o, _)| !o.has_no_place());
        all
    }

    /// The history as it was before trial `number`, with what is known now.
    #[must_use]
    pub fn before(&self, number: u64) -> History {
        History { observations: self.observations.iter().filter(|o| o.number < number).cloned().collect() }
    }
}

/// Whether a point has one level index in range for each parameter.
#[must_use]
pub(crate) fn is_in_space(space: &Space, point: &[usize]) -> bool {
    point.len() == space.params.len()
        && space.params.iter().zip(point).all(|(p, &level)| level < p.levels.len())
}
