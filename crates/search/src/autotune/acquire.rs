//! The acquisition: the candidate of highest expected hypervolume improvement inside the region of interest.

use std::collections::{HashMap, HashSet};

use super::again::{self, Member};
use super::columns::Columns;
use super::ehvi::Boxes;
use super::model::{Fits, Models};
use super::pool;
use crate::feasible::{FeasiblePoints, neighbours};
use crate::history::is_in_space;
use crate::stopping::LEAST_GAIN;
use crate::{Ask, History, Problem, Random, Region, TrialState, hypervolume, pareto_front};
use autotune_core::space::Point;

/// How many of the best candidates are improved by steps.
const CLIMBERS: usize = 20;
/// How many steps at most.
const STEPS: usize = 30;

/// What is worth most for its work, and the gain that is expected of it as a fraction of the hypervolume reached: the candidate of highest
/// expected improvement, or a trial that is timed once more.
pub(super) fn best(
    problem: &dyn Problem,
    columns: &Columns,
    points: &FeasiblePoints,
    history: &History,
    visited: &HashSet<Point>,
    random: &mut Random,
    fits: &mut Fits,
) -> Option<(Ask, f64)> {
    let region = Region::of(problem, history)?;
    let models = Models::new(problem, columns, history, Some(&region), fits)?;
    // The front by the models' means: the noise of single measurements is averaged out.
    let mut members: Vec<(Point, Member)> = Vec::new();
    let mut believed: Vec<(Point, Option<u64>)> = Vec::new();
    for o in &history.observations {
        let known = o.losses(problem);
        let placed = is_in_space(problem.space(), &o.point);
        if (known.is_none() && o.state != TrialState::Running) || !(placed || o.has_no_place()) {
            continue;
        }
        match known {
            Some(losses) if !o.exact => {
                members.push((o.point.clone(), Member { number: None, losses, deviations: Vec::new() }));
            }
            _ => believed.push((o.point.clone(), again::can_repeat(o).then_some(o.number))),
        }
    }
    let points_of: Vec<Point> = believed.iter().map(|(point, _)| point.clone()).collect();
    for ((point, number), means) in believed.into_iter().zip(models.predict(problem, columns, &points_of)) {
        let (losses, deviations) = means.into_iter().unzip();
        members.push((point, Member { number, losses, deviations }));
    }
    let (places, members): (Vec<Point>, Vec<Member>) = members.into_iter().unzip();
    let losses: Vec<Vec<f64>> = members.iter().map(|m| m.losses.clone()).collect();
    let front = pareto_front(&losses);
    let front_losses: Vec<Vec<f64>> = front.iter().map(|&i| losses[i].clone()).collect();
    // Those from which others can be reached, inside the region if there are any.
    let placed = || front.iter().copied().filter(|&i| is_in_space(problem.space(), &places[i]));
    let mut front_points: Vec<Point> =
        placed().filter(|&i| region.contains(&losses[i])).map(|i| places[i].clone()).collect();
    if front_points.is_empty() {
        front_points = placed().map(|i| places[i].clone()).collect();
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
    let share = |value: f64| if reached > 0.0 { value / reached } else { f64::INFINITY };
    let new = climbers.into_iter().min_by(better).filter(|(value, _)| *value > 0.0);
    let again = again::best(problem, history, &models, &members, &front, &region.reference)
        .filter(|again| reached > 0.0 && share(again.value) >= LEAST_GAIN);
    match (new, again) {
        (Some((value, _)), Some(again)) if again.value > value => {
            Some((Ask::Again(again.number), share(again.value)))
        }
        (None, Some(again)) => Some((Ask::Again(again.number), share(again.value))),
        (Some((value, point)), _) => Some((Ask::Point(point), share(value))),
        (None, None) => None,
    }
}
