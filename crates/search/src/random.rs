//! The baseline that every sampler must beat: uniform among what fits, without repetition.

use super::{Ask, History, Problem, Random, Sampler, SamplerKind, feasible::FeasiblePoints};

/// Uniform among the points that fit and were not tried.
#[derive(Default)]
pub(crate) struct RandomFeasible {
    points: FeasiblePoints,
}

impl Sampler for RandomFeasible {
    fn kind(&self) -> SamplerKind {
        SamplerKind::Random
    }

    fn ask(&mut self, problem: &dyn Problem, history: &History, seed: u64, number: u64) -> Ask {
        let mut random = Random::new(seed, number, 0);
        self.points.draw(problem, &mut random, &history.visited()).map_or(Ask::Exhausted, Ask::Point)
    }
}
