//! What a sampler may know of the task before it asks: the space, the objectives, what fits, and cheap predictions.

use autotune_core::space::{Point, Space};

/// Which way an objective gets better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Smaller is better.
    Minimize,
    /// Larger is better.
    Maximize,
}

/// One objective of a study.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    /// Its name, for texts.
    pub name: String,
    /// Which way it gets better.
    pub direction: Direction,
    /// The worst value that the user accepts, in the objective's own unit; derived from the first measurements without it.
    pub bound: Option<f64>,
    /// Whether ratios matter rather than differences (latency, bytes): the search then works on the logarithm.
    pub log_scale: bool,
}

impl Objective {
    /// The value as a *loss*: smaller is better, logarithmic where the objective says so. `None` for a value that is not
    /// finite, or not over zero on a logarithmic scale.
    #[must_use]
    pub fn loss(&self, value: f64) -> Option<f64> {
        let scaled = if self.log_scale { (value > 0.0).then(|| value.ln())? } else { value };
        let loss = match self.direction {
            Direction::Minimize => scaled,
            Direction::Maximize => -scaled,
        };
        loss.is_finite().then_some(loss)
    }

    /// The inverse of [`Objective::loss`].
    #[must_use]
    pub fn value(&self, loss: f64) -> f64 {
        let scaled = match self.direction {
            Direction::Minimize => loss,
            Direction::Maximize => -loss,
        };
        if self.log_scale { scaled.exp() } else { scaled }
    }
}

/// What measuring a complete trial once more takes and tells.
#[derive(Clone, Debug, PartialEq)]
pub struct Repeat {
    /// Its work, as a share of a trial's.
    pub cost: f64,
    /// Which objectives are measured anew.
    pub objectives: Vec<bool>,
}

/// The task as a sampler sees it. All answers must be the same whenever they are asked for.
///
/// One sampler value serves one problem: it may cache what the problem answered.
pub trait Problem {
    /// The space that is searched.
    fn space(&self) -> &Space;

    /// The objectives, in the order of every list of values.
    fn objectives(&self) -> &[Objective];

    /// Whether a point fits, by physics that is exact and cheap (microseconds). A point that does not is never asked.
    fn feasible(&self, point: &[usize]) -> bool;

    /// A physical prediction of each objective in its own unit, where there is one.
    fn prior(&self, _point: &[usize]) -> Vec<Option<f64>> {
        vec![None; self.objectives().len()]
    }

    /// Whether [`Problem::prior`] is not a prediction of this objective but the value itself (bytes of a file).
    fn exact(&self, _objective: usize) -> bool {
        false
    }

    /// Cheap columns that are known for every point before it is tried (a divergence probe). They may mislead; the
    /// sampler finds out. The same number of columns for every point.
    fn cheap(&self, _point: &[usize]) -> Vec<f64> {
        Vec::new()
    }

    /// How many points fit, where the problem holds a list of them (a recorded table).
    fn listed(&self) -> Option<usize> {
        None
    }

    /// The point of an index under [`Problem::listed`].
    fn listed_point(&self, _index: usize) -> Option<Point> {
        None
    }

    /// The sum of the sensitivities of a point's choices, each measured on its own, as an additive prediction of the
    /// quality loss; zero for the reference.
    fn sensitivity(&self, _point: &[usize]) -> Option<f64> {
        None
    }

    /// What measuring a trial once more takes, where that can be asked for.
    fn repeat(&self) -> Option<Repeat> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_minimised_and_invertible() {
        let objective =
            |direction, log_scale| Objective { name: "x".into(), direction, bound: None, log_scale };
        for direction in [Direction::Minimize, Direction::Maximize] {
            for log in [false, true] {
                let o = objective(direction, log);
                let (small, large) = (o.loss(2.0).unwrap(), o.loss(3.0).unwrap());
                assert_eq!(small < large, direction == Direction::Minimize);
                assert!((o.value(small) - 2.0).abs() < 1e-12);
                assert_eq!(o.loss(f64::NAN), None);
                assert_eq!(o.loss(f64::INFINITY), None);
            }
        }
        assert_eq!(objective(Direction::Minimize, true).loss(0.0), None);
        assert_eq!(objective(Direction::Minimize, false).loss(0.0), Some(0.0));
    }
}
