//! The region of interest: where a front is worth having, as one bound per objective on the loss scale.

use super::{History, Problem, hypervolume, pareto_front};

/// How many of the first complete trials (the presets and anchors) derived bounds come from. Fixed, so that the bounds and
/// with them the hypervolume's unit stay as they are while the study goes on.
const ANCHORS: usize = 8;

/// A bound per objective, on the loss scale: the reference point of all hypervolumes.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// The worst loss of each objective that is still of interest.
    pub reference: Vec<f64>,
    /// Whether each bound was derived from the first measurements rather than given.
    pub derived: Vec<bool>,
}

impl Region {
    /// The region of a study: the bounds that were given, else the worst loss on the front of the first eight complete
    /// trials and a tenth of their range. `None` while a bound is neither given nor to be derived.
    #[must_use]
    pub fn of(problem: &dyn Problem, history: &History) -> Option<Region> {
        let anchors: Vec<Vec<f64>> =
            history.complete(problem).into_iter().take(ANCHORS).map(|(_, l)| l).collect();
        let front: Vec<&Vec<f64>> = pareto_front(&anchors).into_iter().map(|i| &anchors[i]).collect();
        let mut region = Region { reference: Vec::new(), derived: Vec::new() };
        for (i, objective) in problem.objectives().iter().enumerate() {
            let given = objective.bound.and_then(|b| objective.loss(b));
            region.derived.push(given.is_none());
            region.reference.push(match given {
                Some(bound) => bound,
                None => {
                    let (low, high) = front
                        .iter()
                        .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), p| (l.min(p[i]), h.max(p[i])));
                    if !high.is_finite() {
                        return None;
                    }
                    let margin = 0.1 * (high - low);
                    high + if margin > 0.0 { margin } else { 0.1 * high.abs().max(1e-3) }
                }
            });
        }
        Some(region)
    }

    /// Whether losses lie inside.
    #[must_use]
    pub fn contains(&self, losses: &[f64]) -> bool {
        losses.iter().zip(&self.reference).all(|(x, r)| x < r)
    }
}

/// The hypervolume that the complete trials reach inside the region, on the loss scale; 0 before there is a region.
#[must_use]
pub fn front_hypervolume(problem: &dyn Problem, history: &History) -> f64 {
    let Some(region) = Region::of(problem, history) else { return 0.0 };
    let losses: Vec<Vec<f64>> = history.complete(problem).into_iter().map(|(_, l)| l).collect();
    hypervolume(&losses, &region.reference)
}
