//! Two fidelities: what a cheaply measured proxy (a divergence) tells of an objective that is dear to measure (a graded quality).
//!
//! The link is a Gaussian process over the proxy's logarithm and the levels: a linear and a smooth function of the proxy (the fitted
//! link), and a discrepancy that depends on the candidate (Kennedy and O'Hagan 2000). A proxy that stops ranking the objective is left.

use super::ehvi::normal_cdf;
use crate::gp::{Data, Fitted, Input, Process};
use crate::history::is_in_space;
use crate::{Estimate, History, Observation, Problem, Region, pareto_front};

/// Complete trials before a proxy is believed.
const LEAST_TRIALS: usize = 12;
/// The rank correlation (Spearman) of proxy and objective under which the proxy is left.
const LEAST_RANK: f64 = 0.4;
/// Added to a proxy before its logarithm is taken, as a share of the proxy's median: the reference's own divergence is zero.
const SHIFT: f64 = 0.01;

/// What the proxy tells of one objective.
pub(super) struct Link {
    process: Process,
    shift: f64,
    mean: f64,
    deviation: f64,
    /// The typical standard error of a measurement of the objective.
    error: f64,
}

impl Link {
    /// Fits the link to the trials that have both; `None` while there are few, or where the proxy does not rank the objective.
    pub(super) fn new(problem: &dyn Problem, history: &History, objective: usize) -> Option<Self> {
        let both: Vec<(&Observation, f64, f64)> = history
            .observations
            .iter()
            .filter(|o| is_in_space(problem.space(), &o.point))
            .filter_map(|o| Some((o, proxy(o)?, o.loss(problem, objective)?)))
            .collect();
        if both.len() < LEAST_TRIALS {
            return None;
        }
        let proxies: Vec<f64> = both.iter().map(|b| b.1).collect();
        let losses: Vec<f64> = both.iter().map(|b| b.2).collect();
        if spearman(&proxies, &losses).abs() < LEAST_RANK {
            return None;
        }
        let mut sorted = proxies.clone();
        sorted.sort_by(f64::total_cmp);
        let shift = (SHIFT * sorted[sorted.len() / 2]).max(1e-12);
        let logs: Vec<f64> = proxies.iter().map(|p| (p + shift).ln()).collect();
        let mean = logs.iter().sum::<f64>() / logs.len() as f64;
        let variance = logs.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / logs.len() as f64;
        let deviation = variance.sqrt().max(1e-9);
        let errors: Vec<f64> =
            both.iter().map(|(o, ..)| o.loss_error(problem, objective).unwrap_or(0.0)).collect();
        let error = errors.iter().sum::<f64>() / errors.len() as f64;
        let inputs = both
            .iter()
            .zip(&logs)
            .map(|((o, ..), log)| Input { levels: o.point.clone(), columns: vec![(log - mean) / deviation] })
            .collect();
        let data = Data { inputs, outputs: losses, errors };
        let process = Fitted::new(problem.space(), 1, &data).condition(&data)?;
        Some(Self { process, shift, mean, deviation, error })
    }

    /// Mean and standard deviation of the loss of a trial whose proxy was measured.
    pub(super) fn predict(&self, o: &Observation) -> Option<(f64, f64)> {
        let column = ((proxy(o)? + self.shift).ln() - self.mean) / self.deviation;
        let input = Input { levels: o.point.clone(), columns: vec![column] };
        self.process.predict(&[input]).into_iter().next()
    }
}

/// The first proxy, when it was measured and can be taken the logarithm of.
fn proxy(o: &Observation) -> Option<f64> {
    let value = o.proxies.first().copied().flatten()?.value;
    (value.is_finite() && value >= 0.0).then_some(value)
}

/// What grading a trial promises, by what was measured of it cheaply.
#[derive(Clone, Debug, PartialEq)]
pub struct Promise {
    /// The chance that no complete trial will be at least as good in everything, and that the trial lies in the region of interest.
    pub chance: f64,
    /// The objective that is missing.
    pub objective: usize,
    /// What is predicted of it, in its own unit, with a 95 % interval. Never a result.
    pub predicted: Estimate,
}

/// The chance of a trial to enter the front, of which all objectives but one are measured, and a proxy for that one. `None` where that
/// cannot be told: few trials, a proxy that does not rank, or another objective is missing.
#[must_use]
pub fn promise(problem: &dyn Problem, history: &History, trial: &Observation) -> Option<Promise> {
    let objectives = problem.objectives();
    let losses: Vec<Option<f64>> = (0..objectives.len()).map(|i| trial.loss(problem, i)).collect();
    let mut missing = (0..objectives.len()).filter(|&i| losses[i].is_none());
    let (objective, None) = (missing.next()?, missing.next()) else { return None };
    let region = Region::of(problem, history)?;
    let link = Link::new(problem, history, objective)?;
    let (mean, deviation) = link.predict(trial)?;
    let at_least = |other: &[f64]| {
        losses
            .iter()
            .zip(other)
            .enumerate()
            .all(|(i, (own, o))| i == objective || own.is_none_or(|own| *o <= own))
    };
    let complete: Vec<Vec<f64>> = history.measured(problem).into_iter().map(|(_, l)| l).collect();
    // Better than all that are at least as good in the rest.
    let least = pareto_front(&complete)
        .into_iter()
        .map(|i| &complete[i])
        .filter(|l| at_least(l))
        .map(|l| l[objective])
        .fold(region.reference[objective], f64::min);
    let outside = (0..objectives.len()).any(|i| losses[i].is_some_and(|l| l >= region.reference[i]));
    let wide = deviation.hypot(link.error).max(1e-12);
    let spec = &objectives[objective];
    let (a, b) = (spec.value(mean - 1.96 * wide), spec.value(mean + 1.96 * wide));
    Some(Promise {
        chance: if outside { 0.0 } else { normal_cdf((least - mean) / wide) },
        objective,
        predicted: Estimate { value: spec.value(mean), low: a.min(b), high: a.max(b) },
    })
}

/// Spearman's rank correlation, ties by their mean rank; 0 where one side is constant.
fn spearman(a: &[f64], b: &[f64]) -> f64 {
    let (x, y) = (ranks(a), ranks(b));
    let n = x.len() as f64;
    let middle = (n + 1.0) / 2.0;
    let covariance: f64 = x.iter().zip(&y).map(|(x, y)| (x - middle) * (y - middle)).sum();
    let spread = |r: &[f64]| r.iter().map(|x| (x - middle).powi(2)).sum::<f64>();
    let scale = (spread(&x) * spread(&y)).sqrt();
    if scale > 0.0 { covariance / scale } else { 0.0 }
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let less = |v: f64| values.iter().filter(|w| **w < v).count() as f64;
    let equal = |v: f64| values.iter().filter(|w| **w == v).count() as f64;
    values.iter().map(|&v| less(v) + (equal(v) + 1.0) / 2.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Table;
    use crate::{Random, TrialState};

    /// Trials of a grid whose second objective follows its proxy, or does not.
    fn history(table: &Table, follows: bool) -> History {
        let mut random = Random::new(1, 0, 0);
        let mut history = History::default();
        for number in 0..24 {
            let point = vec![random.below(8), random.below(8)];
            let mut seen = table.observe(number, point.clone());
            let divergence = if follows { 0.01 * 1.5f64.powi(point[1] as i32) } else { random.unit() };
            seen.proxies = vec![Some(Estimate::exact(divergence))];
            history.observations.push(seen);
        }
        history
    }

    fn table() -> Table {
        let mut table = Table::grid(&[8, 8]);
        table.values = Box::new(|p| vec![1.0 + p[0] as f64, 1.5f64.powi(p[1] as i32)]);
        table
    }

    fn cheap(table: &Table, point: Vec<usize>, divergence: f64) -> Observation {
        let mut trial = table.observe(99, point);
        trial.state = TrialState::Partial;
        trial.objectives[1] = None;
        trial.proxies = vec![Some(Estimate::exact(divergence))];
        trial
    }

    #[test]
    fn what_the_proxy_condemns_has_no_chance_and_the_best_has() {
        let table = table();
        let history = history(&table, true);
        let bad = promise(&table, &history, &cheap(&table, vec![7, 7], 0.01 * 1.5f64.powi(7))).unwrap();
        assert!(bad.chance < 0.05, "{bad:?}");
        assert_eq!(bad.objective, 1);
        assert!((bad.predicted.value - 1.5f64.powi(7)).abs() < 3.0, "{bad:?}");
        let good = promise(&table, &history, &cheap(&table, vec![0, 0], 0.01)).unwrap();
        assert!(good.chance > 0.2, "{good:?}");
    }

    #[test]
    fn a_proxy_that_does_not_rank_is_left() {
        let table = table();
        let trial = cheap(&table, vec![7, 7], 0.5);
        assert_eq!(promise(&table, &history(&table, false), &trial), None);
        assert_eq!(promise(&table, &History::default(), &trial), None);
    }

    #[test]
    fn ranks_correlate() {
        assert!((spearman(&[1.0, 2.0, 3.0], &[10.0, 20.0, 90.0]) - 1.0).abs() < 1e-12);
        assert!((spearman(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]) + 1.0).abs() < 1e-12);
        assert_eq!(spearman(&[1.0, 1.0], &[3.0, 2.0]), 0.0);
    }
}
