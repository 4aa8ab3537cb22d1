//! The region of interest: where a front is worth having, as one bound per objective on the loss scale.

use super::{Direction, History, Objective, Problem, hypervolume, pareto_front};

/// How many of the first complete trials (the presets and anchors) derived bounds come from. Fixed, so that the bounds and
/// with them the hypervolume's unit stay as they are while the study goes on.
const ANCHORS: usize = 8;
/// What is left of the best quality among them is of no interest below this share.
const LEAST_QUALITY: f64 = 0.5;

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
    /// trials and a tenth of their range, and of a quality at least half of the best among them: nobody looks for a model that has lost
    /// more. `None` while a bound is neither given nor to be derived.
    #[must_use]
    pub fn of(problem: &dyn Problem, history: &History) -> Option<Region> {
        let anchors: Vec<Vec<f64>> =
            history.measured(problem).into_iter().take(ANCHORS).map(|(_, l)| l).collect();
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
                    let worst = high + if margin > 0.0 { margin } else { 0.1 * high.abs().max(1e-3) };
                    worst.min(least_quality(objective, low))
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

/// The loss of [`LEAST_QUALITY`] of a quality, given the best loss; infinite for costs and rates, of which ratios matter.
fn least_quality(objective: &Objective, best: f64) -> f64 {
    let value = objective.value(best);
    match objective.direction {
        Direction::Maximize if value > 0.0 && !objective.log_scale => {
            objective.loss(LEAST_QUALITY * value).unwrap_or(f64::INFINITY)
        }
        _ => f64::INFINITY,
    }
}

/// The hypervolume that the complete trials reach inside the region, on the loss scale; 0 before there is a region.
#[must_use]
pub fn front_hypervolume(problem: &dyn Problem, history: &History) -> f64 {
    let Some(region) = Region::of(problem, history) else { return 0.0 };
    let losses: Vec<Vec<f64>> = history.measured(problem).into_iter().map(|(_, l)| l).collect();
    hypervolume(&losses, &region.reference)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Table;

    #[test]
    fn a_derived_region_ends_where_half_of_the_best_quality_is_lost() {
        let mut table = Table::grid(&[8]);
        table.objectives[1].direction = Direction::Maximize;
        // Slower is better: 0.6 at the slow end, next to nothing at the fast one.
        table.values =
            Box::new(|p| vec![10.0 + p[0] as f64, [0.02, 0.1, 0.2, 0.4, 0.5, 0.55, 0.6, 0.6][p[0]]]);
        let observations = (0..8).map(|i| table.observe(i, vec![i as usize])).collect();
        let history = History { observations };
        let region = Region::of(&table, &history).unwrap();
        assert_eq!(region.derived, [true, true]);
        assert!(
            (region.reference[0] - (16.0 + 0.6)).abs() < 1e-9,
            "a cost: the worst on the front and a tenth"
        );
        assert!((region.reference[1] + 0.3).abs() < 1e-9, "{:?}", region.reference);
        // What the user says counts, also below.
        table.objectives[1].bound = Some(0.05);
        assert!((Region::of(&table, &history).unwrap().reference[1] + 0.05).abs() < 1e-9);
        // Of rates, ratios matter: a half is not what is lost.
        table.objectives[1].bound = None;
        table.objectives[1].log_scale = true;
        let worst = Region::of(&table, &history).unwrap().reference[1];
        assert!(table.objectives[1].value(worst) < 0.02);
    }
}
