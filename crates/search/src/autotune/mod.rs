//! The default sampler: a Gaussian process for each objective, and the candidate of highest expected hypervolume improvement
//! inside the region of interest, among points that fit.

mod acquire;
mod again;
mod columns;
mod ehvi;
mod link;
mod model;
mod pool;
mod start;

use std::collections::BTreeMap;

use super::feasible::FeasiblePoints;
use super::history::is_in_space;
use super::{Ask, Estimate, History, Objective, Problem, Random, Sampler, SamplerKind};
use autotune_core::space::Point;
use columns::Columns;
pub use link::{Promise, promise};
use model::{Fits, Models};

/// Complete trials before the models are asked.
const START: usize = 6;
/// Answers that are remembered with their expected gains.
const REMEMBERED: usize = 8;

/// See the module.
#[derive(Default)]
pub(crate) struct Autotune {
    points: FeasiblePoints,
    columns: Option<Columns>,
    fits: Fits,
    /// By trial number: the history that was asked with, and the gain that was expected of the answer.
    gains: BTreeMap<u64, (History, f64)>,
}

impl Autotune {
    /// The answer, and the gain that it promises; no gain where the models were not asked.
    fn answer(
        &mut self,
        problem: &dyn Problem,
        history: &History,
        seed: u64,
        number: u64,
    ) -> (Ask, Option<f64>) {
        let mut random = Random::new(seed, number, 0);
        let visited = history.visited();
        let columns = self.columns.get_or_insert_with(|| Columns::new(problem));
        let modelled = history.complete(problem).len() >= START;
        let (chosen, gain): (Option<Ask>, Option<f64>) = if modelled {
            let best =
                acquire::best(problem, columns, &self.points, history, &visited, &mut random, &mut self.fits);
            // No candidate promises anything: none is a gain of zero.
            best.map_or((None, Some(0.0)), |(ask, gain)| (Some(ask), Some(gain)))
        } else {
            (start::choose(problem, &self.points, history, &visited, &mut random).map(Ask::Point), None)
        };
        let ask = chosen.or_else(|| self.points.draw(problem, &mut random, &visited).map(Ask::Point));
        (ask.unwrap_or(Ask::Exhausted), gain)
    }
}

impl Sampler for Autotune {
    fn kind(&self) -> SamplerKind {
        SamplerKind::Autotune
    }

    fn ask(&mut self, problem: &dyn Problem, history: &History, seed: u64, number: u64) -> Ask {
        let (ask, gain) = self.answer(problem, history, seed, number);
        if let Some(gain) = gain {
            self.gains.insert(number, (history.clone(), gain));
            while self.gains.len() > REMEMBERED {
                self.gains.pop_first();
            }
        }
        ask
    }

    fn expected_gain(
        &mut self,
        problem: &dyn Problem,
        history: &History,
        seed: u64,
        number: u64,
    ) -> Option<f64> {
        if let Some((with, gain)) = self.gains.get(&number)
            && with == history
        {
            return Some(*gain);
        }
        let (_, gain) = self.answer(problem, history, seed, number);
        gain
    }
}

/// The models that the default sampler would ask, for predictions without a question: of the whole space, beyond the region, too.
pub(super) struct Surrogate<'a> {
    problem: &'a dyn Problem,
    columns: Columns,
    models: Models,
}

impl<'a> Surrogate<'a> {
    /// `None` while an objective was never measured.
    pub(super) fn new(problem: &'a dyn Problem, history: &History) -> Option<Self> {
        let columns = Columns::new(problem);
        let models = Models::new(problem, &columns, history, None, &mut Fits::default())?;
        Some(Self { problem, columns, models })
    }

    /// Mean and standard deviation of each loss at points of the space: `[point][objective]`.
    pub(super) fn losses(&self, points: &[Point]) -> Vec<Vec<(f64, f64)>> {
        self.models.predict(self.problem, &self.columns, points)
    }
}

/// What the default sampler's models predict of points: each objective in its own unit, with a 95 % interval for the value
/// without measurement noise. `None` while an objective was never measured.
///
/// A prediction is shown as one and never as a result.
#[must_use]
pub fn predict(problem: &dyn Problem, history: &History, points: &[Point]) -> Option<Vec<Vec<Estimate>>> {
    let surrogate = Surrogate::new(problem, history)?;
    let points: Vec<Point> = points.iter().filter(|p| is_in_space(problem.space(), p)).cloned().collect();
    let estimate = |(objective, (mean, deviation)): (&Objective, (f64, f64))| {
        let (a, b) = (objective.value(mean - 1.96 * deviation), objective.value(mean + 1.96 * deviation));
        Estimate { value: objective.value(mean), low: a.min(b), high: a.max(b) }
    };
    let estimates = |losses: Vec<(f64, f64)>| problem.objectives().iter().zip(losses).map(estimate).collect();
    Some(surrogate.losses(&points).into_iter().map(estimates).collect())
}
