//! Simulated annealing (Kirkpatrick, Gelatt and Vecchi 1983) by `argmin`, as a baseline: one chain after another, each on a
//! scalarisation of the objectives.
//!
//! `argmin` has no ask/tell. The chains are therefore *replayed* at every question: the cost of a point that was tried is looked
//! up, and the first point that was not stops the replay and is the answer. Chain `k` has the weights and the random numbers of
//! `(seed, k)`, so that the replay goes the same way for as long as the history does.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use argmin::core::{CostFunction, Error, Executor};
use argmin::solver::simulatedannealing::{Anneal as AnnealStep, SATempFunc, SimulatedAnnealing};
use rand_xoshiro::Xoshiro256PlusPlus;
use rand_xoshiro::rand_core::SeedableRng;

use super::feasible::{FeasiblePoints, neighbours};
use super::{Ask, History, Problem, Random, Region, Sampler, SamplerKind};
use autotune_core::space::Point;

/// The random points that come first, and that scale the objectives.
const START: usize = 8;
/// Steps of one chain.
const CHAIN_STEPS: u64 = 24;
/// Chains that are replayed before a random point is asked instead: each may meet known points only.
const CHAINS: u64 = 64;
/// Neighbours that are looked at for one that fits.
const REACH: usize = 32;
/// The temperature at the start of a chain, in units of the scaled cost.
const TEMPERATURE: f64 = 0.3;

/// Chains of annealing over random weightings of the objectives.
#[derive(Default)]
pub(crate) struct Anneal {
    points: FeasiblePoints,
}

impl Sampler for Anneal {
    fn kind(&self) -> SamplerKind {
        SamplerKind::Anneal
    }

    fn ask(&mut self, problem: &dyn Problem, history: &History, seed: u64, number: u64) -> Ask {
        let visited = history.visited();
        let asked = replay(problem, history, &visited, seed);
        asked
            .or_else(|| self.points.draw(problem, &mut Random::new(seed, number, 0), &visited))
            .map_or(Ask::Exhausted, Ask::Point)
    }
}

/// The first point that the chains meet and that was not tried; `None` before the start is made or when all chains stay
/// among known points.
fn replay(problem: &dyn Problem, history: &History, visited: &HashSet<Point>, seed: u64) -> Option<Point> {
    let complete = history.complete(problem);
    if complete.len() < START {
        return None;
    }
    let start = History { observations: complete[..START].iter().map(|(o, _)| (*o).clone()).collect() };
    let region = Region::of(problem, &start)?;
    // Scaled by the first trials only, so that old costs never change.
    let scale: Vec<(f64, f64)> = (0..region.reference.len())
        .map(|i| {
            let best = complete[..START].iter().map(|(_, l)| l[i]).fold(f64::INFINITY, f64::min);
            (best, (region.reference[i] - best).max(1e-9))
        })
        .collect();
    let known: HashMap<&Point, &Vec<f64>> = complete.iter().map(|(o, l)| (&o.point, l)).collect();
    for chain in 0..CHAINS {
        let mut random = Random::new(seed, chain, 1);
        let raw: Vec<f64> = scale.iter().map(|_| -(1.0 - random.unit()).ln()).collect();
        let total: f64 = raw.iter().sum();
        let walk = Walk {
            problem,
            known: &known,
            visited,
            scale: &scale,
            weights: raw.iter().map(|w| w / total).collect(),
            random: RefCell::new(Random::new(seed, chain, 2)),
        };
        // The best start for these weights.
        let first =
            complete[..START].iter().min_by(|a, b| walk.scalar(&a.1).total_cmp(&walk.scalar(&b.1)))?;
        let rng = Xoshiro256PlusPlus::seed_from_u64(random.bits());
        let solver =
            SimulatedAnnealing::new_with_rng(TEMPERATURE, rng).ok()?.with_temp_func(SATempFunc::Boltzmann);
        let executor = Executor::new(walk, solver)
            .configure(|state| state.param(first.0.point.clone()).max_iters(CHAIN_STEPS))
            .timer(false);
        // The first point that was not tried ends the replay as an error; otherwise the chain ran to its end.
        if let Err(Untried(point)) = executor.run().map_err(untried) {
            return (!point.is_empty()).then_some(point);
        }
    }
    None
}

/// The point that a chain needs and nobody tried.
#[derive(Debug, thiserror::Error)]
#[error("the point {0:?} was not tried")]
struct Untried(Point);

/// The point behind argmin's error; an empty one for errors of its own.
fn untried(error: Error) -> Untried {
    error.downcast::<Untried>().unwrap_or(Untried(Point::new()))
}

/// One chain's view of the task.
struct Walk<'a> {
    problem: &'a dyn Problem,
    known: &'a HashMap<&'a Point, &'a Vec<f64>>,
    visited: &'a HashSet<Point>,
    /// The best loss and the width of the region, by objective.
    scale: &'a [(f64, f64)],
    weights: Vec<f64>,
    random: RefCell<Random>,
}

impl Walk<'_> {
    /// The augmented weighted Chebyshev distance from the best losses (Knowles 2006, ParEGO, eq. 2).
    fn scalar(&self, losses: &[f64]) -> f64 {
        let terms = losses
            .iter()
            .zip(self.scale)
            .zip(&self.weights)
            .map(|((l, (best, width)), w)| w * (l - best) / width);
        terms.clone().fold(f64::NEG_INFINITY, f64::max) + 0.05 * terms.sum::<f64>()
    }
}

impl CostFunction for Walk<'_> {
    type Param = Point;
    type Output = f64;

    fn cost(&self, point: &Point) -> Result<f64, Error> {
        match self.known.get(point) {
            Some(losses) => Ok(self.scalar(losses)),
            // Failed, or still running: neither good nor bad is known of it, so the chain rather goes elsewhere.
            None if self.visited.contains(point) => Ok(1.0),
            None => Err(Untried(point.clone()).into()),
        }
    }
}

impl AnnealStep for Walk<'_> {
    type Param = Point;
    type Output = Point;
    type Float = f64;

    /// A few steps through neighbours, more of them while it is hot, ending at a point that fits.
    fn anneal(&self, point: &Point, temperature: f64) -> Result<Point, Error> {
        let mut random = self.random.borrow_mut();
        for _ in 0..REACH {
            let mut next = point.clone();
            let steps = 1 + random.below(1 + (3.0 * temperature / TEMPERATURE).clamp(0.0, 3.0) as usize);
            for _ in 0..steps {
                let near = neighbours(self.problem.space(), &next);
                if near.is_empty() {
                    break;
                }
                next.clone_from(&near[random.below(near.len())]);
            }
            if next != *point && self.problem.feasible(&next) {
                return Ok(next);
            }
        }
        Ok(point.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Table;

    #[test]
    fn chains_go_on_where_they_stopped_and_find_both_ends() {
        let table = Table::grid(&[8, 8, 8]);
        let history = table.search(&mut Anneal::default(), 60, 3);
        assert_eq!(history.observations.len(), 60);
        let again = Anneal::default().ask(&table, &history.before(40), 3, 40);
        assert_eq!(again, Ask::Point(history.observations[40].point.clone()));
        let best =
            |i: usize| history.complete(&table).iter().map(|(_, l)| l[i]).fold(f64::INFINITY, f64::min);
        assert!(best(0) <= 3.0 && best(1) <= 0.2, "{} {}", best(0), best(1));
    }
}
