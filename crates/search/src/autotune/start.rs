//! The first questions, before there is enough for a model.

use std::collections::HashSet;

use crate::feasible::FeasiblePoints;
use crate::{History, Problem, Random};
use autotune_core::space::{ParamKind, Point, Space};

/// What an equal level adds to the likeness of two candidates.
const ALIKE: f64 = 0.5;
/// Candidates of the spread.
const CANDIDATES: usize = 400;

/// The candidate whose levels were tried least, alone and together: the least sum over all trials of
/// `Π_d (1 + w k_d) - 1`, where `k_d` is 1 for an equal level and falls with the distance of ranks. Every level of every
/// parameter comes early (as in Latin hypercubes, McKay, Beckman and Conover 1979), also where few points fit.
pub(super) fn choose(
    problem: &dyn Problem,
    points: &FeasiblePoints,
    history: &History,
    visited: &HashSet<Point>,
    random: &mut Random,
) -> Option<Point> {
    let candidates = points.sample(problem, random, visited, CANDIDATES, 64 * CANDIDATES);
    let known: Vec<&Point> = history
        .observations
        .iter()
        .map(|o| &o.point)
        .filter(|p| crate::history::is_in_space(problem.space(), p))
        .collect();
    let crowd = |p: &Point| known.iter().map(|o| likeness(problem.space(), p, o)).sum::<f64>();
    let mut best: Option<(f64, Point)> = None;
    for candidate in candidates {
        let crowd = crowd(&candidate);
        if best.as_ref().is_none_or(|(b, _)| crowd < *b) {
            best = Some((crowd, candidate));
        }
    }
    best.map(|(_, point)| point)
}

fn likeness(space: &Space, a: &[usize], b: &[usize]) -> f64 {
    let mut product = 1.0;
    for (param, (&x, &y)) in space.params.iter().zip(a.iter().zip(b)) {
        let n = param.levels.len();
        if n < 2 {
            continue;
        }
        let k = match param.kind {
            ParamKind::Ordinal => (-(3.0 * x.abs_diff(y) as f64 / (n - 1) as f64)).exp(),
            ParamKind::Categorical => f64::from(u8::from(x == y)),
        };
        product *= 1.0 + ALIKE * k;
    }
    product - 1.0
}
