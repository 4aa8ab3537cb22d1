//! Which parameters moved an objective: Sobol indices of the fitted surrogate.
//!
//! Indices of the surrogate on a uniform sample of the space, not of the optimiser's own trials: those crowd where the search went,
//! and mislead.

use super::autotune::Surrogate;
use super::feasible::random_point;
use super::{History, Problem, Random};
use autotune_core::space::Point;

/// Base points of the estimate.
const SAMPLES: usize = 4096;
/// The stream of the sample: the same for every study, so that equal trials give equal indices.
const STREAM: u64 = 0x50b01;

/// How much of an objective's variance over the space a parameter explains.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sobol {
    /// On its own, whatever the others are: 0 to 1.
    pub first: f64,
    /// Alone and together with others: 0 to 1, at least `first` but for sampling error.
    pub total: f64,
}

/// The indices of every parameter for every objective, on the loss scale: `[objective][parameter]`, in the order of the problem's
/// objectives and the space's parameters. `None` before every objective was measured.
///
/// Jansen's estimators (1999; Saltelli et al. 2010, table 2) of the surrogate's mean. A parameter with one level gets zeros, as do
/// all where the surrogate is constant.
#[must_use]
pub fn importance(problem: &dyn Problem, history: &History) -> Option<Vec<Vec<Sobol>>> {
    let surrogate = Surrogate::new(problem, history)?;
    let means = |points: &[Point]| -> Vec<Vec<f64>> {
        surrogate.losses(points).into_iter().map(|p| p.into_iter().map(|(mean, _)| mean).collect()).collect()
    };
    let space = problem.space();
    let mut random = Random::new(0, 0, STREAM);
    let mut draw =
        || -> Option<Vec<Point>> { (0..SAMPLES).map(|_| random_point(space, &mut random)).collect() };
    let (a, b) = (draw()?, draw()?);
    let (at_a, at_b) = (means(&a), means(&b));
    let mut all =
        vec![vec![Sobol { first: 0.0, total: 0.0 }; space.params.len()]; problem.objectives().len()];
    for (d, param) in space.params.iter().enumerate() {
        if param.levels.len() < 2 {
            continue;
        }
        // A with the parameter taken from B.
        let mixed: Vec<Point> = a
            .iter()
            .zip(&b)
            .map(|(x, y)| {
                let mut point = x.clone();
                point[d] = y[d];
                point
            })
            .collect();
        let at_mixed = means(&mixed);
        for (objective, indices) in all.iter_mut().enumerate() {
            let column = |rows: &[Vec<f64>], i: usize| rows[i][objective];
            let halves = |from: &[Vec<f64>]| {
                let sum: f64 = (0..SAMPLES).map(|i| (column(from, i) - column(&at_mixed, i)).powi(2)).sum();
                sum / (2 * SAMPLES) as f64
            };
            let both: Vec<f64> = at_a.iter().chain(&at_b).map(|r| r[objective]).collect();
            let mean = both.iter().sum::<f64>() / both.len() as f64;
            let variance = both.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / both.len() as f64;
            if variance > 1e-18 {
                indices[d] = Sobol {
                    first: (1.0 - halves(&at_b) / variance).clamp(0.0, 1.0),
                    total: (halves(&at_a) / variance).clamp(0.0, 1.0),
                };
            }
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Table;

    #[test]
    fn indices_are_those_of_the_function_not_of_the_trials() {
        // a = 3 x0 + x1, b = x0 x1 around their middles; x2 does nothing.
        let mut table = Table::grid(&[5, 5, 4]);
        table.values = Box::new(|p| {
            let (x, y) = (p[0] as f64 - 2.0, p[1] as f64 - 2.0);
            vec![3.0 * x + y, x * y]
        });
        let mut history = History::default();
        let mut random = Random::new(3, 0, 0);
        for number in 0..60 {
            // Crowded at small x0, as an optimiser's trials are.
            let mut point = random_point(table.space(), &mut random).unwrap();
            point[0] = point[0].min(random.below(5));
            history.observations.push(table.observe(number, point));
        }
        let all = importance(&table, &history).unwrap();
        // Sampling, and what sixty crowded trials leave open.
        let near = |found: f64, wanted: f64| assert!((found - wanted).abs() < 0.12, "{all:?}");
        near(all[0][0].first, 0.9);
        near(all[0][1].first, 0.1);
        near(all[0][2].total, 0.0);
        near(all[1][0].first, 0.0);
        near(all[1][0].total, 1.0);
        near(all[1][1].total, 1.0);
        assert_eq!(importance(&table, &History::default()), None);
    }
}
