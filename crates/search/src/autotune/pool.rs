//! The candidates that the acquisition looks at.

use std::collections::HashSet;

use crate::feasible::{FeasiblePoints, neighbours};
use crate::{Problem, Random};
use autotune_core::space::Point;

/// Random feasible candidates.
const RANDOM: usize = 800;
/// Random points that are looked at for them.
const TRIES: usize = 24_000;
/// Front members whose neighbours are candidates.
const MEMBERS: usize = 20;
/// Crossovers of front members.
const CROSSOVERS: usize = 400;

/// Different points that fit and were not tried: random ones, all neighbours of front members, crossovers of front members.
pub(super) fn candidates(
    problem: &dyn Problem,
    points: &FeasiblePoints,
    visited: &HashSet<Point>,
    front: &[Point],
    random: &mut Random,
) -> Vec<Point> {
    let mut seen: HashSet<Point> = HashSet::new();
    let mut pool = points.sample(problem, random, visited, RANDOM, TRIES);
    seen.extend(pool.iter().cloned());
    let mut add = |pool: &mut Vec<Point>, point: Point| {
        if !visited.contains(&point) && !seen.contains(&point) && problem.feasible(&point) {
            seen.insert(point.clone());
            pool.push(point);
        }
    };
    let mut members = front.to_vec();
    random.shuffle(&mut members);
    for member in members.iter().take(MEMBERS) {
        for near in neighbours(problem.space(), member) {
            add(&mut pool, near);
        }
    }
    if members.len() > 1 {
        for _ in 0..CROSSOVERS {
            let (a, b) = (&members[random.below(members.len())], &members[random.below(members.len())]);
            let child = a.iter().zip(b).map(|(x, y)| if random.below(2) == 0 { *x } else { *y }).collect();
            add(&mut pool, child);
        }
    }
    pool
}
