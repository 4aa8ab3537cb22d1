//! The first questions, before there is enough for a model.

use std::collections::HashSet;

use crate::search::feasible::FeasiblePoints;
use crate::search::{History, Problem, Random};
use crate::space::{ParamKind, Point, Space};

/// Candidates of the spread.
const CANDIDATES: usize = 400;

/// The candidate farthest from all that was tried (Johnson, Moore and Ylvisaker 1990: maximin distance designs).
pub(super) fn choose(
    problem: &dyn Problem,
    points: &FeasiblePoints,
    history: &History,
    visited: &HashSet<Point>,
    random: &mut Random,
) -> Option<Point> {
    let candidates = points.sample(problem, random, visited, CANDIDATES, 64 * CANDIDATES);
    let distance = |p: &Point| {
        history
            .observations
            .iter()
            .map(|o| distance(problem.space(), p, &o.point))
            .fold(f64::INFINITY, f64::min)
    };
    let mut best: Option<(f64, Point)> = None;
    for candidate in candidates {
        let d = distance(&candidate);
        if best.as_ref().is_none_or(|(b, _)| d > *b) {
            best = Some((d, candidate));
        }
    }
    best.map(|(_, point)| point)
}

/// The sum over parameters of the difference of scaled ranks, or of unequal names.
fn distance(space: &Space, a: &[usize], b: &[usize]) -> f64 {
    space
        .params
        .iter()
        .zip(a.iter().zip(b))
        .map(|(param, (&x, &y))| match param.kind {
            ParamKind::Ordinal => x.abs_diff(y) as f64 / (param.levels.len().max(2) - 1) as f64,
            ParamKind::Categorical => f64::from(u8::from(x != y)),
        })
        .sum()
}
