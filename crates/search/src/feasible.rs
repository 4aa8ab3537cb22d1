//! Points that fit, in spaces from one point to far more than can be listed.

use std::collections::HashSet;

use super::{Problem, Random};
use autotune_core::space::{ParamKind, Point, Space};

/// Spaces up to this size are listed once when chance finds nothing new.
const LISTABLE: u128 = 1 << 22;
/// Random points that are looked at before that.
const TRIES: usize = 1 << 18;

/// Draws points that fit and were not tried.
#[derive(Default)]
pub(crate) struct FeasiblePoints {
    /// The feasible points of a listable space by number, once they were needed.
    listed: Option<Vec<u32>>,
}

impl FeasiblePoints {
    /// A point that fits and is not in `visited`, uniformly; `None` when there is none. In a space that is too large to be
    /// listed, `None` means that a quarter of a million random points and all steps from visited points found nothing.
    pub(crate) fn draw(
        &mut self,
        problem: &dyn Problem,
        random: &mut Random,
        visited: &HashSet<Point>,
    ) -> Option<Point> {
        if let Some(count) = problem.listed() {
            return draw_listed(problem, count, random, visited);
        }
        let size = problem.space().size();
        // Where most of a small space may be used up, listing costs less than chance.
        let tries = if size < TRIES as u128 { 4 * size as usize } else { TRIES };
        for _ in 0..tries {
            let point = random_point(problem.space(), random)?;
            if !visited.contains(&point) && problem.feasible(&point) {
                return Some(point);
            }
        }
        if size <= LISTABLE {
            let listed = self.list(problem);
            let left: Vec<u32> = listed
                .iter()
                .copied()
                .filter(|&i| !visited.contains(&nth(problem.space(), i.into())))
                .collect();
            return (!left.is_empty())
                .then(|| nth(problem.space(), u64::from(left[random.below(left.len())])));
        }
        let mut known: Vec<&Point> = visited.iter().filter(|p| problem.feasible(p)).collect();
        known.sort_unstable(); // A set has no order of its own.
        let mut near: Vec<Point> = known
            .into_iter()
            .flat_map(|p| neighbours(problem.space(), p))
            .filter(|p| !visited.contains(p) && problem.feasible(p))
            .collect();
        near.sort_unstable();
        near.dedup();
        (!near.is_empty()).then(|| near.swap_remove(random.below(near.len())))
    }

    /// Up to `count` different points that fit and are not in `visited`, after at most `tries` random points; fewer when
    /// few fit.
    pub(crate) fn sample(
        &self,
        problem: &dyn Problem,
        random: &mut Random,
        visited: &HashSet<Point>,
        count: usize,
        tries: usize,
    ) -> Vec<Point> {
        let mut seen: HashSet<Point> = HashSet::new();
        let mut points = Vec::new();
        let listed = problem.listed();
        if let Some(few) = listed.filter(|n| *n <= count) {
            // All of them.
            return (0..few)
                .filter_map(|i| problem.listed_point(i))
                .filter(|p| !visited.contains(p))
                .collect();
        }
        for _ in 0..tries {
            if points.len() >= count {
                break;
            }
            let drawn = match listed {
                Some(n) => problem.listed_point(random.below(n)),
                None => random_point(problem.space(), random),
            };
            let Some(point) = drawn else { break };
            if !visited.contains(&point) && problem.feasible(&point) && seen.insert(point.clone()) {
                points.push(point);
            }
        }
        points
    }

    /// The feasible points of a listable space, by number (see [`nth`]).
    fn list(&mut self, problem: &dyn Problem) -> &[u32] {
        self.listed.get_or_insert_with(|| {
            let size = problem.space().size().min(LISTABLE) as u32;
            (0..size).filter(|&i| problem.feasible(&nth(problem.space(), i.into()))).collect()
        })
    }
}

/// As [`FeasiblePoints::draw`], from the problem's own list.
fn draw_listed(
    problem: &dyn Problem,
    count: usize,
    random: &mut Random,
    visited: &HashSet<Point>,
) -> Option<Point> {
    for _ in 0..64 {
        let point = problem.listed_point(random.below(count))?;
        if !visited.contains(&point) {
            return Some(point);
        }
    }
    let left: Vec<Point> =
        (0..count).filter_map(|i| problem.listed_point(i)).filter(|p| !visited.contains(p)).collect();
    (!left.is_empty()).then(|| left[random.below(left.len())].clone())
}

/// A uniform point, feasible or not; `None` when a parameter has no levels.
pub(crate) fn random_point(space: &Space, random: &mut Random) -> Option<Point> {
    space.params.iter().map(|p| (!p.levels.is_empty()).then(|| random.below(p.levels.len()))).collect()
}

/// The point of a number in `0..size`, the last parameter counting fastest.
pub(crate) fn nth(space: &Space, mut number: u64) -> Point {
    let mut point = vec![0; space.params.len()];
    for (level, param) in point.iter_mut().zip(&space.params).rev() {
        let n = param.levels.len().max(1) as u64;
        *level = (number % n) as usize;
        number /= n;
    }
    point
}

/// All points that differ in one parameter: by one step for ordered parameters, by any level for the others.
pub(crate) fn neighbours(space: &Space, point: &[usize]) -> Vec<Point> {
    let mut all = Vec::new();
    for (d, param) in space.params.iter().enumerate() {
        for level in 0..param.levels.len() {
            let near = match param.kind {
                ParamKind::Ordinal => level.abs_diff(point[d]) == 1,
                ParamKind::Categorical => level != point[d],
            };
            if near {
                let mut next = point.to_vec();
                next[d] = level;
                all.push(next);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Table;

    #[test]
    fn numbers_and_steps_stay_in_the_space() {
        let table = Table::grid(&[3, 1, 2]);
        let all: Vec<Point> = (0..6).map(|i| nth(table.space(), i)).collect();
        assert_eq!(all[0], vec![0, 0, 0]);
        assert_eq!(all[5], vec![2, 0, 1]);
        assert_eq!(neighbours(table.space(), &[1, 0, 0]), vec![vec![0, 0, 0], vec![2, 0, 0], vec![1, 0, 1]]);
    }

    #[test]
    fn one_in_ten_thousand_of_a_trillion_is_found() {
        let mut table = Table::grid(&[10; 12]);
        table.fits = Box::new(|p| p[0] == 3 && p[1] == 1 && p[2] == 4 && p[3] == 1);
        let mut points = FeasiblePoints::default();
        let mut visited = HashSet::new();
        for n in 0..5 {
            let point = points.draw(&table, &mut Random::new(1, n, 0), &visited).unwrap();
            assert!(table.feasible(&point) && visited.insert(point));
        }
    }

    #[test]
    fn the_last_point_is_found_and_then_none() {
        let mut table = Table::grid(&[64, 64, 64]);
        table.fits = Box::new(|p| p == [63, 0, 17]);
        let mut points = FeasiblePoints::default();
        let mut visited = HashSet::new();
        let point = points.draw(&table, &mut Random::new(1, 0, 0), &visited).unwrap();
        assert_eq!(point, vec![63, 0, 17]);
        visited.insert(point);
        assert_eq!(points.draw(&table, &mut Random::new(1, 1, 0), &visited), None);
    }
}
