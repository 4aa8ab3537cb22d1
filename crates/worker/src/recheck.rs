//! Candidates re-measured in interleaved rounds, and what may be said of them then.
//!
//! In each round every candidate is measured once, for a short time, in alternating order, so that what the machine does in a round
//! meets all of them alike. Two candidates are compared by the ratios of their latencies in the same rounds: the interval of the
//! ratio is that of the signed-rank test ([`autotune_core::stats::signed_rank_interval`]), which assumes no distribution, only that under
//! equality a round is as likely to err one way as the other. They count as different where that interval excludes 1.

use serde::{Deserialize, Serialize};

use autotune_core::stats::{Interval, signed_rank_interval};

/// From this many rounds on the signed-rank test can tell a difference at 5 %.
pub const FEWEST_ROUNDS: usize = 6;

/// One short measurement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recheck {
    /// The round, from 0.
    pub round: u64,
    /// The trial.
    pub trial: u64,
    /// Median request latency of the workload, put together from a prompt and some decode steps, in milliseconds.
    pub latency_ms: f64,
}

/// What may be said of two candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// The first is faster.
    Faster,
    /// The first is slower.
    Slower,
    /// The interval holds 1.
    Indistinguishable,
    /// There were too few rounds to tell.
    TooFew,
}

/// Two candidates, compared.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Latency of the first as a multiple of the second's, with its 95 % interval.
    pub ratio: Interval,
    /// What may be said.
    pub standing: Standing,
}

/// Compares by the rounds in which both were measured; none where there is no such round.
#[must_use]
pub fn compare(rechecks: &[Recheck], first: u64, second: u64) -> Option<Comparison> {
    let of = |trial: u64, round: u64| {
        rechecks.iter().find(|r| r.trial == trial && r.round == round).map(|r| r.latency_ms)
    };
    let logs: Vec<f64> = rechecks
        .iter()
        .filter(|r| r.trial == first)
        .filter_map(|r| Some((r.latency_ms / of(second, r.round)?).ln()))
        .filter(|log| log.is_finite())
        .collect();
    ratio_of(&logs)
}

/// Compares two candidates by the logarithms of their ratios, round by round; none without rounds.
#[must_use]
pub fn ratio_of(logs: &[f64]) -> Option<Comparison> {
    if logs.is_empty() {
        return None;
    }
    let i = signed_rank_interval(logs);
    let ratio = Interval { value: i.value.exp(), low: i.low.exp(), high: i.high.exp(), samples: i.samples };
    let standing = match (logs.len() >= FEWEST_ROUNDS, ratio.high < 1.0, ratio.low > 1.0) {
        (false, ..) => Standing::TooFew,
        (true, true, _) => Standing::Faster,
        (true, _, true) => Standing::Slower,
        (true, false, false) => Standing::Indistinguishable,
    };
    Some(Comparison { ratio, standing })
}

impl Comparison {
    /// In words, `other` being what the first was compared with; none where too few rounds were measured.
    #[must_use]
    pub fn sentence(&self, other: &str) -> Option<String> {
        let r = &self.ratio;
        let figures = format!(
            "{} interleaved rounds, {:.3} × its latency, 95 % interval {:.3} to {:.3}",
            r.samples, r.value, r.low, r.high
        );
        match self.standing {
            Standing::Faster => Some(format!("re-measured: faster than {other} ({figures})")),
            Standing::Slower => Some(format!("re-measured: slower than {other} ({figures})")),
            Standing::Indistinguishable => {
                Some(format!("re-measured: indistinguishable from {other} in latency ({figures})"))
            }
            Standing::TooFew => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(first: &[f64], second: &[f64]) -> Vec<Recheck> {
        let of = |trial: u64, values: &[f64]| -> Vec<Recheck> {
            (0..).zip(values).map(|(round, &latency_ms)| Recheck { round, trial, latency_ms }).collect()
        };
        [of(1, first), of(2, second)].concat()
    }

    #[test]
    fn drift_that_meets_both_hides_nothing() {
        // The machine becomes half as fast under way; the first is 5 % faster throughout.
        let second: Vec<f64> = (0..8).map(|i| 100.0 + 14.0 * f64::from(i)).collect();
        let first: Vec<f64> = second.iter().enumerate().map(|(i, x)| x * (0.95 + 0.001 * i as f64)).collect();
        let c = compare(&rounds(&first, &second), 1, 2).unwrap();
        assert_eq!(c.standing, Standing::Faster);
        assert!((c.ratio.value - 0.9535).abs() < 1e-3);
        assert_eq!(compare(&rounds(&second, &first), 1, 2).unwrap().standing, Standing::Slower);
        assert!(
            c.sentence("Q4_K_M")
                .unwrap()
                .starts_with("re-measured: faster than Q4_K_M (8 interleaved rounds")
        );
    }

    #[test]
    fn what_goes_both_ways_is_indistinguishable_and_five_rounds_are_too_few() {
        let second = [100.0; 8];
        let first = [101.0, 99.0, 100.5, 99.2, 100.1, 98.9, 101.3, 99.9];
        let c = compare(&rounds(&first, &second), 1, 2).unwrap();
        assert_eq!(c.standing, Standing::Indistinguishable);
        assert!(c.sentence("Q8_0").unwrap().contains("indistinguishable from Q8_0"));
        let c = compare(&rounds(&[50.0; 5], &[100.0; 5]), 1, 2).unwrap();
        assert_eq!((c.standing, c.sentence("x")), (Standing::TooFew, None));
        assert_eq!(compare(&rounds(&[50.0], &[]), 1, 2), None);
    }
}
