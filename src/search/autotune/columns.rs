//! What is known of every point before it is tried, as standardised columns.

use std::collections::HashSet;

use crate::search::feasible::FeasiblePoints;
use crate::search::{Problem, Random};

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
}

impl Columns {
    pub(super) fn new(problem: &dyn Problem) -> Self {
        let mut random = Random::new(0, 0, 7);
        let sample = FeasiblePoints::default().sample(problem, &mut random, &HashSet::new(), SAMPLE, TRIES);
        let cheap: Vec<Vec<f64>> = sample.iter().map(|p| raw(problem, p)).collect();
        let prior: Vec<Vec<Option<f64>>> = sample.iter().map(|p| prior_losses(problem, p)).collect();
        let width = cheap.iter().map(Vec::len).max().unwrap_or(0);
        let scales = (0..width)
            .map(|c| Scale::of(&cheap.iter().filter_map(|row| row.get(c).copied()).collect::<Vec<_>>()))
            .collect();
        let prior = (0..problem.objectives().len())
            .map(|i| {
                let values: Vec<f64> = prior.iter().filter_map(|row| row.get(i).copied().flatten()).collect();
                (!values.is_empty() && values.len() == prior.len()).then(|| Scale::of(&values))
            })
            .collect();
        Self { cheap: scales, prior }
    }

    /// How many cheap columns there are.
    pub(super) fn width(&self) -> usize {
        self.cheap.len()
    }

    /// Whether an objective has a physical prediction everywhere.
    pub(super) fn has_prior(&self, objective: usize) -> bool {
        self.prior.get(objective).is_some_and(Option::is_some)
    }

    /// The cheap columns of a point.
    pub(super) fn cheap(&self, problem: &dyn Problem, point: &[usize]) -> Vec<f64> {
        let raw = raw(problem, point);
        self.cheap.iter().enumerate().map(|(c, s)| s.apply(raw.get(c).copied().unwrap_or(f64::NAN))).collect()
    }

    /// An objective's predicted loss as a column.
    pub(super) fn prior(&self, objective: usize, loss: f64) -> f64 {
        self.prior.get(objective).copied().flatten().map_or(0.0, |s| s.apply(loss))
    }
}

fn raw(problem: &dyn Problem, point: &[usize]) -> Vec<f64> {
    let mut columns = problem.cheap(point);
    columns.extend(problem.sensitivity(point));
    // The size of a model says much of its speed, and something of its quality.
    if crate::search::gp::tune("BYTES", 1.0) > 0.0 {
        let known = prior_losses(problem, point);
        columns.extend((0..known.len()).filter(|&i| problem.exact(i)).map(|i| known[i].unwrap_or(f64::NAN)));
    }
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
