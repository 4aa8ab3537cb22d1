//! The default sampler: a Gaussian process for each objective, and the candidate of highest expected hypervolume improvement
//! inside the region of interest, among points that fit.

mod columns;
mod ehvi;
mod model;
mod pool;
mod start;

use std::collections::HashSet;

use super::feasible::{FeasiblePoints, neighbours};
use super::{
    Ask, Estimate, History, Objective, Problem, Random, Region, Sampler, TrialState, hypervolume,
    pareto_front,
};
use crate::space::Point;
use columns::Columns;
use ehvi::Boxes;
use model::Models;

/// How many of the best candidates are improved by steps.
const CLIMBERS: usize = 20;
/// How many steps at most.
const STEPS: usize = 30;
/// Complete trials before the models are asked.
const START: usize = 6;

/// See the module.
#[derive(Default)]
pub(crate) struct Autotune {
    points: FeasiblePoints,
    columns: Option<Columns>,
}

impl Sampler for Autotune {
    fn name(&self) -> &'static str {
        "autotune"
    }

    fn ask(&mut self, problem: &dyn Problem, history: &History, seed: u64, number: u64) -> Ask {
        let mut random = Random::new(seed, number, 0);
        let visited = history.visited();
        let columns = self.columns.get_or_insert_with(|| Columns::new(problem));
        let usable = history.complete(problem).len();
        let chosen = if usable < crate::search::gp::tune("START", START as f64) as usize {
            start::choose(problem, &self.points, history, &visited, &mut random)
        } else {
            best(problem, columns, &self.points, history, &visited, &mut random).map(|(point, _)| point)
        };
        chosen.or_else(|| self.points.draw(problem, &mut random, &visited)).map_or(Ask::Exhausted, Ask::Point)
    }
}

/// What the default sampler's models predict of points: each objective in its own unit, with a 95 % interval for the value
/// without measurement noise. `None` while an objective was never measured.
///
/// A prediction is shown as one and never as a result.
#[must_use]
pub fn predict(problem: &dyn Problem, history: &History, points: &[Point]) -> Option<Vec<Vec<Estimate>>> {
    let columns = Columns::new(problem);
    let models = Models::new(problem, &columns, history)?;
    let estimate = |point: &Point| -> Vec<Estimate> {
        let losses = models.predict(problem, &columns, point);
        let estimate = |(objective, (mean, deviation)): (&Objective, (f64, f64))| {
            let (a, b) = (objective.value(mean - 1.96 * deviation), objective.value(mean + 1.96 * deviation));
            Estimate { value: objective.value(mean), low: a.min(b), high: a.max(b) }
        };
        problem.objectives().iter().zip(losses).map(estimate).collect()
    };
    Some(points.iter().filter(|p| super::history::is_in_space(problem.space(), p)).map(estimate).collect())
}

/// The candidate of highest expected improvement, and that improvement as a fraction of the hypervolume reached.
fn best(
    problem: &dyn Problem,
    columns: &Columns,
    points: &FeasiblePoints,
    history: &History,
    visited: &HashSet<Point>,
    random: &mut Random,
) -> Option<(Point, f64)> {
    let models = Models::new(problem, columns, history)?;
    let region = Region::of(problem, history)?;
    // The front by the models' means: the noise of single measurements is averaged out.
    let mut members: Vec<(Point, Vec<f64>)> = Vec::new();
    for o in &history.observations {
        let known = o.losses(problem);
        if (known.is_none() && o.state != TrialState::Running)
            || !super::history::is_in_space(problem.space(), &o.point)
        {
            continue;
        }
        let losses = match known {
            Some(losses) if !o.exact => losses,
            _ => models.predict(problem, columns, &o.point).into_iter().map(|(mean, _)| mean).collect(),
        };
        members.push((o.point.clone(), losses));
    }
    let losses: Vec<Vec<f64>> = members.iter().map(|(_, l)| l.clone()).collect();
    let front = pareto_front(&losses);
    let front_losses: Vec<Vec<f64>> = front.iter().map(|&i| losses[i].clone()).collect();
    let mut front_points: Vec<Point> =
        front.iter().filter(|&&i| region.contains(&losses[i])).map(|&i| members[i].0.clone()).collect();
    if front_points.is_empty() {
        front_points = front.iter().map(|&i| members[i].0.clone()).collect();
    }
    let boxes = Boxes::new(&front_losses, &region.reference)?;
    let reached = hypervolume(&front_losses, &region.reference);
    let inflate = crate::search::gp::tune("INF", 1.0);
    let score = |point: &Point| {
        let p: Vec<(f64, f64)> =
            models.predict(problem, columns, point).into_iter().map(|(m, s)| (m, s * inflate)).collect();
        boxes.expected(&p)
    };

    let pool = pool::candidates(problem, points, visited, &front_points, random);
    let mut scored: Vec<(f64, Point)> = pool.into_iter().map(|p| (score(&p), p)).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    scored.truncate(CLIMBERS);
    for (value, point) in &mut scored {
        for _ in 0..STEPS {
            let step = neighbours(problem.space(), point)
                .into_iter()
                .filter(|p| !visited.contains(p) && problem.feasible(p))
                .map(|p| (score(&p), p))
                .max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(&a.1)));
            match step {
                Some((better, next)) if better > *value => (*value, *point) = (better, next),
                _ => break,
            }
        }
    }
    let (value, point) = scored.into_iter().max_by(|a, b| a.0.total_cmp(&b.0).then_with(|| b.1.cmp(&a.1)))?;
    (value > 0.0).then(|| (point, if reached > 0.0 { value / reached } else { f64::INFINITY }))
}
