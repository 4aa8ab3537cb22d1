//! Pass@k: the unbiased estimator, its interval, and paired comparison of two sets of verdicts.

mod interval;
mod paired;

use serde::{Deserialize, Serialize};

pub use interval::{Interval, Method, wilson};
pub use paired::{Paired, mcnemar};

/// Level of all intervals.
pub const CONFIDENCE: f64 = 0.95;

/// Why there is no score.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PasskError {
    /// The estimator needs at least k samples of every task.
    #[error(
        "pass@{k} needs at least {k} samples of each task, but `{task}` has {n}; generate more or use a smaller k"
    )]
    TooFewSamples {
        /// The k asked for.
        k: u64,
        /// The task.
        task: String,
        /// Its samples.
        n: u64,
    },
    /// k = 0.
    #[error("pass@0 is not defined; k must be at least 1")]
    ZeroK,
    /// More passed than were drawn.
    #[error("`{task}` has {passed} passed of {n} samples")]
    Impossible {
        /// The task.
        task: String,
        /// Passed samples.
        passed: u64,
        /// All samples.
        n: u64,
    },
    /// Nothing to average.
    #[error("no tasks were judged")]
    NoTasks,
    /// Two verdict lists that cannot be paired.
    #[error(
        "cannot pair {reference} verdicts of the reference with {candidate} of the candidate; judge both on the same tasks"
    )]
    Unpaired {
        /// Length of one.
        reference: usize,
        /// Length of the other.
        candidate: usize,
    },
}

/// How one task's samples went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskCount {
    /// The task's id.
    pub task_id: String,
    /// Samples judged (n).
    pub samples: u64,
    /// Samples that passed (c).
    pub passed: u64,
}

/// A score with its uncertainty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PassAtK {
    /// The k.
    pub k: u64,
    /// Mean over tasks of the unbiased estimate, in [0, 1].
    pub mean: f64,
    /// Where the mean over *other tasks like these* lies, by [`Interval::method`].
    pub interval: Interval,
    /// Standard error from drawing other samples for the *same* tasks; `None` with a single sample a task, from which it cannot be told.
    pub sampling_se: Option<f64>,
    /// Tasks.
    pub tasks: u64,
    /// Samples of all tasks.
    pub samples: u64,
}

/// The unbiased estimate of the probability that at least one of k samples passes, when c of n did: 1 − C(n−c, k) / C(n, k),
/// as a product (Chen et al. 2021, "Evaluating Large Language Models Trained on Code", equation 1 and figure 3).
///
/// # Errors
/// k = 0, n < k, c > n. The texts name no task; see [`pass_at_k`].
///
/// ```
/// # use autotune_quality::passk::estimate;
/// assert_eq!(estimate(10, 3, 1).unwrap(), 0.3);
/// assert!((estimate(5, 2, 2).unwrap() - 0.7).abs() < 1e-12);
/// assert!(estimate(5, 2, 6).is_err());
/// ```
pub fn estimate(n: u64, c: u64, k: u64) -> Result<f64, PasskError> {
    estimate_task("the task", n, c, k)
}

fn estimate_task(task: &str, n: u64, c: u64, k: u64) -> Result<f64, PasskError> {
    if k == 0 {
        return Err(PasskError::ZeroK);
    }
    if c > n {
        return Err(PasskError::Impossible { task: task.to_owned(), passed: c, n });
    }
    if n < k {
        return Err(PasskError::TooFewSamples { k, task: task.to_owned(), n });
    }
    if n - c < k {
        return Ok(1.0);
    }
    if k == 1 {
        return Ok(c as f64 / n as f64);
    }
    Ok(1.0 - (n - c + 1..=n).map(|i| 1.0 - k as f64 / i as f64).product::<f64>())
}

/// Mean pass@k over tasks, with an interval for the choice of tasks and an error for the choice of samples.
///
/// # Errors
/// No tasks, or a task with fewer than k samples.
pub fn pass_at_k(counts: &[TaskCount], k: u64) -> Result<PassAtK, PasskError> {
    if counts.is_empty() {
        return Err(PasskError::NoTasks);
    }
    let scores = counts
        .iter()
        .map(|t| estimate_task(&t.task_id, t.samples, t.passed, k))
        .collect::<Result<Vec<f64>, _>>()?;
    Ok(PassAtK {
        k,
        mean: scores.iter().sum::<f64>() / scores.len() as f64,
        interval: interval::over_tasks(&scores),
        sampling_se: interval::sampling_se(counts, k),
        tasks: counts.len() as u64,
        samples: counts.iter().map(|t| t.samples).sum(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Largest accepted difference between the product form and exact binomials.
    const TOLERANCE: f64 = 1e-12;

    fn choose(n: u64, k: u64) -> f64 {
        (0..k).map(|i| (n - i) as f64 / (k - i) as f64).product()
    }

    proptest! {
        #[test]
        fn the_product_equals_the_binomials(n in 1u64..60, c_seed in 0u64..60, k_seed in 0u64..60) {
            let (c, k) = (c_seed % (n + 1), k_seed % n + 1);
            let exact = if n - c < k { 1.0 } else { 1.0 - choose(n - c, k) / choose(n, k) };
            prop_assert!((estimate(n, c, k).unwrap() - exact).abs() < TOLERANCE);
        }

        #[test]
        fn it_grows_with_successes_and_with_k(n in 2u64..60, c_seed in 0u64..60, k_seed in 0u64..60) {
            let (c, k) = (c_seed % n, k_seed % (n - 1) + 1);
            prop_assert!(estimate(n, c, k).unwrap() <= estimate(n, c + 1, k).unwrap() + TOLERANCE);
            prop_assert!(estimate(n, c, k).unwrap() <= estimate(n, c, k + 1).unwrap() + TOLERANCE);
        }
    }

    #[test]
    fn k_over_n_is_an_error_even_without_success() {
        assert_eq!(
            estimate(1, 0, 10).unwrap_err().to_string(),
            "pass@10 needs at least 10 samples of each task, but `the task` has 1; generate more or use a smaller k"
        );
        assert_eq!(estimate(5, 1, 0), Err(PasskError::ZeroK));
        assert!(matches!(estimate(5, 6, 1), Err(PasskError::Impossible { .. })));
    }

    #[test]
    fn the_mean_is_over_tasks_not_over_samples() {
        let counts = [
            TaskCount { task_id: "a".into(), samples: 10, passed: 10 },
            TaskCount { task_id: "b".into(), samples: 2, passed: 0 },
        ];
        let score = pass_at_k(&counts, 1).unwrap();
        assert_eq!((score.mean, score.tasks, score.samples), (0.5, 2, 12));
        assert!(matches!(pass_at_k(&counts, 3), Err(PasskError::TooFewSamples { n: 2, .. })));
        assert_eq!(pass_at_k(&[], 1), Err(PasskError::NoTasks));
    }
}
