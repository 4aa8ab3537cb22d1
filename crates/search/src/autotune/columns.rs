//! What is known of every point before it is tried, as standardised columns.

use std::collections::HashSet;

use crate::feasible::FeasiblePoints;
use crate::{Problem, Random};

/// Points that the columns' means and widths are taken from.
const SAMPLE: usize = 256;
/// Random points that are looked at for them.
const TRIES: usize = 4096;
/// A positive column that spans more than this factor is taken by its logarithm.
const WIDE: f64 = 20.0;

/// How one raw column becomes a standard one.
#[derive(Clone, Copy, Debug)]
struct Scale {
    log: bool,
    mean: f64,
    deviation: f64,
}

impl Scale {
    fn of(values: &[f64]) -> Self {
        let finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        let low = finite.iter().copied().fold(f64::INFINITY, f64::min);
        let high = finite.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log = low > 0.0 && high / low > WIDE;
        let scaled: Vec<f64> = finite.iter().map(|v| if log { v.ln() } else { *v }).collect();
        let n = scaled.len().max(1) as f64;
        let mean = scaled.iter().sum::<f64>() / n;
        let variance = scaled.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        Self { log, mean, deviation: if variance > 1e-24 { variance.sqrt() } else { f64::INFINITY } }
    }

    /// The standard value; the mean for a value that is missing, and for every value of a constant column.
    fn apply(&self, value: f64) -> f64 {
        let scaled = if self.log { value.ln() } else { value };
        let standard = (scaled - self.mean) / self.deviation;
        if standard.is_finite() { standard.clamp(-6.0, 6.0) } else { 0.0 }
    }
}

/// The columns of one problem. They depend on the problem only, and are made once.
#[derive(Clone, Debug)]
pub(super) struct Columns {
    cheap: Vec<Scale>,
    prior: Vec<Option<Scale>>,
    /// The objectives whose predictions are the values themselves.
    exact: Vec<usize>,
}

impl Columns {
    pub(super) fn new(problem: &dyn Problem) -> Self {
        let mut random = Random::new(0, 0, 7);
        let sample = FeasiblePoints::default().sample(problem, &mut random, &HashSet::new(), SAMPLE, TRIES);
        let cheap: Vec<Vec<f64>> = sample.iter().map(|p| cheap(problem, p)).collect();
        let prior: Vec<Vec<Option<f64>>> = sample.iter().map(|p| prior_losses(problem, p)).collect();
        let width = cheap.iter().map(Vec::len).max().unwrap_or(0);
        let scales = (0..width)
            .map(|c| Scale::of(&cheap.iter().filter_map(|row| row.get(c).copied()).collect::<Vec<_>>()))
            .collect();
        let prior: Vec<Option<Scale>> = (0..problem.objectives().len())
            .map(|i| {
                let values: Vec<f64> = prior.iter().filter_map(|row| row.get(i).copied().flatten()).collect();
                (!values.is_empty() && values.len() == prior.len()).then(|| Scale::of(&values))
            })
            .collect();
        let exact = (0..prior.len()).filter(|&i| problem.exact(i) && prior[i].is_some()).collect();
        Self { cheap: scales, prior, exact }
    }

    /// How many columns there are of the kinds asked for.
    pub(super) fn width(&self, cheap: bool, exact: bool) -> usize {
        (if cheap { self.cheap.len() } else { 0 }) + if exact { self.exact.len() } else { 0 }
    }

    /// Whether there are cheap columns.
    pub(super) fn has_cheap(&self) -> bool {
        !self.cheap.is_empty()
    }

    /// Whether some objective is known exactly.
    pub(super) fn has_exact(&self) -> bool {
        !self.exact.is_empty()
    }

    /// Whether an objective has a physical prediction everywhere.
    pub(super) fn has_prior(&self, objective: usize) -> bool {
        self.prior.get(objective).is_some_and(Option::is_some)
    }

    /// Appends the columns of a point, of the kinds asked for; `prior` are its predicted losses.
    pub(super) fn extend(
        &self,
        row: &mut Vec<f64>,
        problem: &dyn Problem,
        point: &[usize],
        prior: &[Option<f64>],
        cheap: bool,
        exact: bool,
    ) {
        if cheap && self.has_cheap() {
            let raw = self::cheap(problem, point);
            let columns = self.cheap.iter().enumerate();
            row.extend(columns.map(|(c, s)| s.apply(raw.get(c).copied().unwrap_or(f64::NAN))));
        }
        if exact {
            row.extend(self.exact.iter().map(|&i| self.prior(i, prior[i].unwrap_or(f64::NAN))));
        }
    }

    /// An objective's predicted loss as a column.
    pub(super) fn prior(&self, objective: usize, loss: f64) -> f64 {
        self.prior.get(objective).copied().flatten().map_or(0.0, |s| s.apply(loss))
    }
}

/// What is known of a point that may mislead.
fn cheap(problem: &dyn Problem, point: &[usize]) -> Vec<f64> {
    let mut columns = problem.cheap(point);
    columns.extend(problem.sensitivity(point));
    columns
}

/// The predicted losses of a point.
pub(super) fn prior_losses(problem: &dyn Problem, point: &[usize]) -> Vec<Option<f64>> {
    let values = problem.prior(point);
    problem
        .objectives()
        .iter()
        .enumerate()
        .map(|(i, o)| values.get(i).copied().flatten().and_then(|v| o.loss(v)))
        .collect()
}
