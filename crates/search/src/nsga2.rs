//! NSGA-II (Deb et al. 2002) as a steady-state ask/tell sampler: the population is read from the history at every question.

use std::collections::HashSet;

use super::feasible::{FeasiblePoints, neighbours};
use super::{Ask, History, Problem, Random, Sampler, SamplerKind, crowding, nondominated_sort};
use autotune_core::space::{ParamKind, Point};

/// How many of the best trials are parents, and how many random points come first.
const POPULATION: usize = 24;
/// The random points before the first crossover.
const START: usize = 12;
/// Children that are made before a step from a parent or a random point is taken instead.
const CHILDREN: usize = 64;
/// The chance that a child has two parents.
const CROSSOVER: f64 = 0.9;

/// Elitist evolution of what was measured; children that do not fit are repaired towards their feasible parent.
#[derive(Default)]
pub(crate) struct Nsga2 {
    points: FeasiblePoints,
}

impl Sampler for Nsga2 {
    fn kind(&self) -> SamplerKind {
        SamplerKind::Nsga2
    }

    fn ask(&mut self, problem: &dyn Problem, history: &History, seed: u64, number: u64) -> Ask {
        let mut random = Random::new(seed, number, 0);
        let visited = history.visited();
        let parents = parents(problem, history);
        let child =
            if parents.len() < START { None } else { child(problem, &parents, &visited, &mut random) };
        child.or_else(|| self.points.draw(problem, &mut random, &visited)).map_or(Ask::Exhausted, Ask::Point)
    }
}

/// A parent, with what tournaments look at.
struct Parent {
    point: Point,
    rank: usize,
    crowding: f64,
}

/// The best trials by rank, then by crowding distance.
fn parents(problem: &dyn Problem, history: &History) -> Vec<Parent> {
    let complete = history.complete(problem);
    let losses: Vec<Vec<f64>> = complete.iter().map(|(_, l)| l.clone()).collect();
    let ranks = nondominated_sort(&losses);
    let mut parents: Vec<Parent> = Vec::new();
    for rank in 0..=ranks.iter().copied().max().unwrap_or(0) {
        let members: Vec<usize> = (0..ranks.len()).filter(|&i| ranks[i] == rank).collect();
        let front: Vec<Vec<f64>> = members.iter().map(|&i| losses[i].clone()).collect();
        for (&i, crowding) in members.iter().zip(crowding(&front)) {
            parents.push(Parent { point: complete[i].0.point.clone(), rank, crowding });
        }
    }
    // Stable: trials that are alike keep the order of their numbers.
    parents.sort_by(|a, b| a.rank.cmp(&b.rank).then(b.crowding.total_cmp(&a.crowding)));
    parents.truncate(POPULATION);
    parents
}

fn child(
    problem: &dyn Problem,
    parents: &[Parent],
    visited: &HashSet<Point>,
    random: &mut Random,
) -> Option<Point> {
    for _ in 0..CHILDREN {
        let mother = tournament(parents, random);
        let mut point = mother.point.clone();
        if random.unit() < CROSSOVER {
            let father = tournament(parents, random);
            for (level, other) in point.iter_mut().zip(&father.point) {
                if random.below(2) == 1 {
                    *level = *other;
                }
            }
        }
        mutate(problem, &mut point, random);
        repair(problem, &mut point, &mother.point, random);
        if problem.feasible(&point) && !visited.contains(&point) {
            return Some(point);
        }
    }
    // Crossover only finds what is known: step away from a parent.
    let mut near: Vec<Point> = parents
        .iter()
        .flat_map(|p| neighbours(problem.space(), &p.point))
        .filter(|p| !visited.contains(p) && problem.feasible(p))
        .collect();
    (!near.is_empty()).then(|| near.swap_remove(random.below(near.len())))
}

fn tournament<'a>(parents: &'a [Parent], random: &mut Random) -> &'a Parent {
    // Parents are sorted, so that the smaller index wins.
    let (a, b) = (random.below(parents.len()), random.below(parents.len()));
    &parents[a.min(b)]
}

/// Changes each parameter with a chance of one in the number of parameters: mostly a step for ordered ones, any level for others.
fn mutate(problem: &dyn Problem, point: &mut Point, random: &mut Random) {
    let dimensions = point.len();
    for (level, param) in point.iter_mut().zip(&problem.space().params) {
        if random.below(dimensions) != 0 || param.levels.len() < 2 {
            continue;
        }
        let step = param.kind == ParamKind::Ordinal && random.below(4) != 0;
        *level = match (step, random.below(2)) {
            (true, 0) if *level > 0 => *level - 1,
            (true, _) if *level + 1 < param.levels.len() => *level + 1,
            (true, _) => *level - 1,
            (false, _) => (*level + 1 + random.below(param.levels.len() - 1)) % param.levels.len(),
        };
    }
}

/// Gives a child that does not fit its mother's levels back, one parameter at a time in random order, until it fits.
fn repair(problem: &dyn Problem, point: &mut Point, mother: &[usize], random: &mut Random) {
    let mut order: Vec<usize> = (0..point.len()).filter(|&d| point[d] != mother[d]).collect();
    random.shuffle(&mut order);
    for d in order {
        if problem.feasible(point) {
            return;
        }
        point[d] = mother[d];
    }
}
