//! Confidence intervals that tell tasks from samples.
//!
//! Samples of one task are not independent observations of the model, so the unit that is resampled is the task.

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::{CONFIDENCE, TaskCount, estimate_task};
use autotune_core::stats::wilson_ends;

/// Resamples of a bootstrap: the end points move by less than .2 points from seed to seed at 100 tasks.
const RESAMPLES: usize = 10_000;
/// Resampling fewer tasks than this shows too little of what other tasks would give; one task would seem to be certain.
const FEW_TASKS: usize = 10;

/// How an interval was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Wilson's score interval: every task's estimate is 0 or 1, as with one sample a task; or there is too little to resample.
    Wilson,
    /// Percentile bootstrap over tasks, 10,000 resamples, fixed seed; each task keeps its samples.
    TaskBootstrap,
}

/// A 95 % confidence interval, within [0, 1].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// How it was made.
    pub method: Method,
}

/// Wilson's score interval for `successes` of `n` (Wilson 1927). Never of zero width, also at 0 and 1. For n = 0 all of [0, 1].
#[must_use]
pub fn wilson(successes: u64, n: u64) -> Interval {
    if n == 0 {
        return Interval { low: 0.0, high: 1.0, method: Method::Wilson };
    }
    score_interval(successes as f64 / n as f64, n as f64)
}

/// Wilson's interval around a mean. For estimates between 0 and 1 it is too wide rather than too narrow: nothing in [0, 1] with this
/// mean varies more than 0s and 1s do.
fn score_interval(p: f64, n: f64) -> Interval {
    let (low, high) = wilson_ends(p, n);
    Interval { low, high, method: Method::Wilson }
}

/// The interval of the mean of per-task estimates over other tasks like these.
pub(super) fn over_tasks(scores: &[f64]) -> Interval {
    if scores.iter().all(|&s| s == 0.0 || s == 1.0) {
        return wilson(scores.iter().filter(|&&s| s == 1.0).count() as u64, scores.len() as u64);
    }
    if scores.len() < FEW_TASKS || scores.iter().all(|s| *s == scores[0]) {
        let n = scores.len() as f64;
        return score_interval(scores.iter().sum::<f64>() / n, n);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(scores.len() as u64);
    let mut means: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            (0..scores.len()).map(|_| scores[rng.random_range(0..scores.len())]).sum::<f64>()
                / scores.len() as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    let tail = (1.0 - CONFIDENCE) / 2.0;
    let at = |q: f64| means[((RESAMPLES - 1) as f64 * q).round() as usize];
    Interval { low: at(tail), high: at(1.0 - tail), method: Method::TaskBootstrap }
}

/// The standard error of the mean from drawing other samples for the same tasks. k = 1: the binomial variance with n − 1, summed over
/// tasks; k > 1: a parametric bootstrap (c ~ Binomial(n, c/n)). `None` when some task has a single sample.
pub(super) fn sampling_se(counts: &[TaskCount], k: u64) -> Option<f64> {
    if counts.iter().any(|t| t.samples < 2) {
        return None;
    }
    let tasks = counts.len() as f64;
    if k == 1 {
        let variance: f64 = counts
            .iter()
            .map(|t| {
                let p = t.passed as f64 / t.samples as f64;
                p * (1.0 - p) / (t.samples - 1) as f64
            })
            .sum();
        return Some(variance.sqrt() / tasks);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(k);
    let draws = 200;
    let mut variance = 0.0;
    for task in counts {
        let scores: Vec<f64> = (0..draws)
            .filter_map(|_| estimate_task(&task.task_id, task.samples, binomial(&mut rng, task), k).ok())
            .collect();
        let mean = scores.iter().sum::<f64>() / scores.len() as f64;
        variance += scores.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / (scores.len() - 1) as f64;
    }
    Some(variance.sqrt() / tasks)
}

fn binomial(rng: &mut impl Rng, task: &TaskCount) -> u64 {
    let p = task.passed as f64 / task.samples as f64;
    (0..task.samples).filter(|_| rng.random::<f64>() < p).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_matches_published_values() {
        // Newcombe 1998, table I: 81 of 263 and 0 of 20.
        let i = wilson(81, 263);
        assert!((i.low - 0.2553).abs() < 5e-5 && (i.high - 0.3662).abs() < 5e-5, "{i:?}");
        let i = wilson(0, 20);
        assert!(i.low == 0.0 && (i.high - 0.1611).abs() < 5e-5, "{i:?}");
        assert_eq!((wilson(0, 0).low, wilson(0, 0).high), (0.0, 1.0));
    }

    #[test]
    fn one_sample_a_task_is_wilson_and_more_are_bootstrapped_over_tasks() {
        assert_eq!(over_tasks(&[0.0, 1.0, 1.0]).method, Method::Wilson);
        let scores: Vec<f64> = (0..100).map(|i| if i < 50 { 0.1 } else { 0.9 }).collect();
        let i = over_tasks(&scores);
        assert_eq!(i.method, Method::TaskBootstrap);
        // Standard deviation .4, so the standard error of 100 tasks is .04, however many samples stand behind each.
        assert!(
            (i.low - (0.5 - 1.96 * 0.04)).abs() < 0.01 && (i.high - (0.5 + 1.96 * 0.04)).abs() < 0.01,
            "{i:?}"
        );
        assert_eq!(over_tasks(&scores), i, "the seed is fixed");
    }

    #[test]
    fn one_task_or_equal_tasks_are_no_certainty() {
        for scores in [&[0.5][..], &[0.3, 0.4], &[0.25; 20]] {
            let i = over_tasks(scores);
            let mean = scores.iter().sum::<f64>() / scores.len() as f64;
            assert_eq!(i.method, Method::Wilson);
            assert!(i.low < mean - 0.1 && i.high > mean + 0.1, "{scores:?}: {i:?}");
        }
    }

    #[test]
    fn the_sampling_error_shrinks_with_samples_and_needs_two() {
        let counts = |n: u64| vec![TaskCount { task_id: "a".into(), samples: n, passed: n / 2 }; 10];
        assert_eq!(sampling_se(&counts(1), 1), None);
        let (few, many) = (sampling_se(&counts(10), 1).unwrap(), sampling_se(&counts(1000), 1).unwrap());
        assert!(few > 9.0 * many, "{few} {many}");
        assert!((few - (0.25f64 / 9.0 / 10.0).sqrt()).abs() < 1e-12);
        assert!(sampling_se(&counts(10), 5).unwrap() > 0.0);
    }
}
