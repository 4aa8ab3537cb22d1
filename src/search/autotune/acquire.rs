//! The acquisition: the candidate of highest expected hypervolume improvement inside the region of interest.

use std::collections::{HashMap, HashSet};

use super::columns::Columns;
use super::ehvi::Boxes;
use super::model::{Fits, Models};
use super::pool;
use crate::search::feasible::{FeasiblePoints, neighbours};
use crate::search::history::is_in_space;
use crate::search::{History, Problem, Random, Region, TrialState, hypervolume, pareto_front};
use crate::space::Point;

/// How many of the best candidates are improved by steps.
const CLIMBERS: usize = 20;
/// How many steps at most.
const STEPS: usize = 30;

/// The candidate of highest expected improvement, and that improvement as a fraction of the hypervolume reached.
pub(super) fn best(
    problem: &dyn Problem,
    columns: &Columns,
    points: &FeasiblePoints,
    history: &History,
    visited: &HashSet<Point>,
    random: &mut Random,
    fits: &mut Fits,
) -> Option<(Point, f64)> {
    let region = Region::of(problem, history)?;
    let models = Models::new(problem, columns, history, Some(&region), fits)?;
    // The front by the models' means: the noise of single measurements is averaged out.
    let mut members: Vec<(Point, Vec<f64>)> = Vec::new();
    let mut believed: Vec<Point> = Vec::new();
    for o in &history.observations {
        let known = o.losses(problem);
        if (known.is_none() && o.state != TrialState::Running) || !is_in_space(problem.space(), &o.point) {
            continue;
        }
        match known {
            Some(losses) if !o.exact => members.push((o.point.clone(), losses)),
            _ => believed.push(o.point.clone()),
        }
    }
    let means = models.predict(problem, columns, &believed);
    members.extend(believed.into_iter().zip(means.into_iter().map(|m| m.into_iter().map(|p| p.0).collect())));
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
    let score = |points: &[Point]| -> Vec<f64> {
        models.predict(problem, columns, points).iter().map(|p| boxes.expected(p)).collect()
    };
    let better = |a: &(f64, Point), b: &(f64, Point)| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1));

    let pool = pool::candidates(problem, points, visited, &front_points, random);
    let mut known: HashMap<Point, f64> = HashMap::new();
    let mut climbers: Vec<(f64, Point)> = score(&pool).into_iter().zip(pool).collect();
    climbers.sort_by(better);
    known.extend(climbers.iter().map(|(s, p)| (p.clone(), *s)));
    climbers.truncate(CLIMBERS);
    let mut climbing = vec![true; climbers.len()];
    for _ in 0..STEPS {
        let mut new: Vec<Point> = Vec::new();
        let mut around: Vec<Vec<Point>> = Vec::new();
        for ((_, point), climbing) in climbers.iter().zip(&climbing) {
            let mut near = if *climbing { neighbours(problem.space(), point) } else { Vec::new() };
            near.retain(|p| !visited.contains(p) && (known.contains_key(p) || problem.feasible(p)));
            new.extend(near.iter().filter(|p| !known.contains_key(*p)).cloned());
            around.push(near);
        }
        new.sort_unstable();
        new.dedup();
        let scores = score(&new);
        known.extend(new.into_iter().zip(scores));
        for ((at, near), climbing) in climbers.iter_mut().zip(around).zip(&mut climbing) {
            let step = near.into_iter().map(|p| (known[&p], p)).min_by(better);
            match step {
                Some(step) if step.0 > at.0 => *at = step,
                _ => *climbing = false,
            }
        }
        if !climbing.contains(&true) {
            break;
        }
    }
    let (value, point) = climbers.into_iter().min_by(better)?;
    (value > 0.0).then(|| (point, if reached > 0.0 { value / reached } else { f64::INFINITY }))
}
