//! Small statistics with stated methods.

use serde::{Deserialize, Serialize};

/// A value with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The estimate.
    #[serde(with = "crate::units::any_number")]
    pub value: f64,
    /// Lower end.
    #[serde(with = "crate::units::any_number")]
    pub low: f64,
    /// Upper end.
    #[serde(with = "crate::units::any_number")]
    pub high: f64,
    /// How many samples it rests on.
    pub samples: u64,
}

impl Interval {
    /// A value without uncertainty (a file's size).
    #[must_use]
    pub fn exact(value: f64) -> Self {
        Self { value, low: value, high: value, samples: 1 }
    }

    /// Half the interval's width relative to the value; infinite for a value of zero.
    #[must_use]
    pub fn relative_half_width(&self) -> f64 {
        ((self.high - self.low) / 2.0 / self.value).abs()
    }
}

/// The 97.5 % point of the normal distribution, for two-sided 95 % intervals.
pub const Z95: f64 = 1.959_963_984_540_054;

/// The q-quantile of sorted samples by linear interpolation (Hyndman & Fan's type 7). NaN when empty.
#[must_use]
pub fn quantile_sorted(sorted: &[f64], q: f64) -> f64 {
    match sorted {
        [] => f64::NAN,
        [one] => *one,
        _ => {
            let h = q.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
            let below = h.floor() as usize;
            let above = (below + 1).min(sorted.len() - 1);
            sorted[below] + (h - below as f64) * (sorted[above] - sorted[below])
        }
    }
}

/// The median, the mean of the middle two for an even number; NaN when empty.
#[must_use]
pub fn median(samples: &[f64]) -> f64 {
    quantile_sorted(&sorted(samples), 0.5)
}

/// The samples in ascending order.
#[must_use]
pub fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut v = samples.to_vec();
    v.sort_by(f64::total_cmp);
    v
}

/// Ranks (from 0) of the order statistics that enclose the q-quantile with at least 95 % confidence, by the binomial distribution of
/// the number of samples below it: distribution-free (Conover, Practical Nonparametric Statistics, 3.2). None when too few samples.
#[must_use]
pub fn quantile_ranks(n: usize, q: f64) -> Option<(usize, usize)> {
    if n == 0 {
        return None;
    }
    let mut pmf = (1.0 - q).powi(n as i32);
    let mut cdf = Vec::with_capacity(n + 1);
    let mut sum = 0.0;
    for k in 0..=n {
        sum += pmf;
        cdf.push(sum);
        pmf *= (n - k) as f64 / (k + 1) as f64 * q / (1.0 - q);
    }
    // P(X_(l) <= quantile) = 1 - cdf[l - 1] for the l-th smallest (from 1); likewise for the upper end.
    let low = (1..=n).rev().find(|&l| cdf[l - 1] <= 0.025)?;
    let high = (1..=n).find(|&u| cdf[u - 1] >= 0.975)?;
    Some((low - 1, high - 1))
}

/// The q-quantile with a distribution-free 95 % interval; where the samples are too few for one, their range.
#[must_use]
pub fn quantile_interval(samples: &[f64], q: f64) -> Interval {
    let s = sorted(samples);
    let value = quantile_sorted(&s, q);
    let (low, high) = match quantile_ranks(s.len(), q) {
        Some((l, h)) => (s[l].min(value), s[h].max(value)),
        None => (s.first().copied().unwrap_or(value), s.last().copied().unwrap_or(value)),
    };
    Interval { value, low, high, samples: s.len() as u64 }
}

/// How many of the smallest (and of the largest) averages of pairs lie outside the 95 % interval of the signed-rank test for `n`
/// samples: the largest c with P(W < c) ≤ 2.5 %, from the exact distribution of the statistic under equality. None for fewer than six.
fn signed_rank_outside(n: usize) -> Option<usize> {
    let most = n * (n + 1) / 2;
    // Subsets of the ranks 1..n by their sum.
    let mut ways = vec![0.0f64; most + 1];
    ways[0] = 1.0;
    for rank in 1..=n {
        for sum in (rank..=most).rev() {
            ways[sum] += ways[sum - rank];
        }
    }
    let all = 2f64.powi(i32::try_from(n).ok()?);
    let mut below = 0.0;
    let mut outside = 0;
    for (c, count) in ways.iter().enumerate() {
        below += count;
        if below / all > 0.025 {
            break;
        }
        outside = c + 1;
    }
    (outside > 0).then_some(outside)
}

/// The median of all averages of pairs (Hodges & Lehmann 1963) with the 95 % interval of Wilcoxon's signed-rank test (Conover, Practical
/// Nonparametric Statistics, 5.7): free of a distribution but for symmetry. With fewer than six samples, or more than 500, where the
/// exact counts are no longer needed, the range or the order-statistic interval of the median.
#[must_use]
pub fn signed_rank_interval(samples: &[f64]) -> Interval {
    let n = samples.len();
    if n > 500 {
        return quantile_interval(samples, 0.5);
    }
    let mut averages: Vec<f64> = samples
        .iter()
        .enumerate()
        .flat_map(|(i, a)| samples[i..].iter().map(move |b| (a + b) / 2.0))
        .collect();
    averages.sort_by(f64::total_cmp);
    let value = quantile_sorted(&averages, 0.5);
    let outside = signed_rank_outside(n).unwrap_or(1);
    let low = averages.get(outside - 1).copied().unwrap_or(value);
    let high = averages.len().checked_sub(outside).and_then(|i| averages.get(i)).copied().unwrap_or(value);
    Interval { value, low: low.min(value), high: high.max(value), samples: n as u64 }
}

/// Two-sided 95 % quantile of Student's t with `df` degrees of freedom (to within 0.5 %; Abramowitz & Stegun 26.7.5).
#[must_use]
pub fn t95(df: f64) -> f64 {
    const SMALL: [f64; 4] = [12.706, 4.303, 3.182, 2.776];
    if df < 1.0 {
        return f64::INFINITY;
    }
    if df < 5.0 {
        return SMALL[df as usize - 1];
    }
    let z = Z95;
    z + (z.powi(3) + z) / (4.0 * df)
        + (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * df * df)
        + (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / (384.0 * df.powi(3))
}

/// The mean with a 95 % interval from the means of `blocks` consecutive blocks, for samples that depend on their neighbours (method
/// of batch means). With fewer than two blocks the interval is infinite.
#[must_use]
pub fn block_mean(samples: &[f64], blocks: usize) -> Interval {
    let n = samples.len();
    let value = samples.iter().sum::<f64>() / n as f64;
    let blocks = blocks.min(n);
    if blocks < 2 {
        return Interval { value, low: f64::NEG_INFINITY, high: f64::INFINITY, samples: n as u64 };
    }
    let means: Vec<f64> = (0..blocks)
        .map(|b| {
            let part = &samples[b * n / blocks..(b + 1) * n / blocks];
            part.iter().sum::<f64>() / part.len() as f64
        })
        .collect();
    let centre = means.iter().sum::<f64>() / blocks as f64;
    let variance = means.iter().map(|m| (m - centre).powi(2)).sum::<f64>() / (blocks - 1) as f64;
    let half = t95((blocks - 1) as f64) * (variance / blocks as f64).sqrt();
    Interval { value, low: value - half, high: value + half, samples: n as u64 }
}

/// Wilson's 95 % score interval of a fraction (Wilson 1927).
#[must_use]
pub fn wilson(successes: u64, n: u64) -> Interval {
    if n == 0 {
        return Interval { value: f64::NAN, low: 0.0, high: 1.0, samples: 0 };
    }
    let p = successes as f64 / n as f64;
    let (low, high) = wilson_ends(p, n as f64);
    Interval { value: p, low: low.min(p), high: high.max(p), samples: n }
}

/// The ends of Wilson's 95 % score interval of a fraction `p` of `n` observations, within [0, 1].
#[must_use]
pub fn wilson_ends(p: f64, n: f64) -> (f64, f64) {
    let centre = (p + Z95 * Z95 / (2.0 * n)) / (1.0 + Z95 * Z95 / n);
    let half = Z95 / (1.0 + Z95 * Z95 / n) * (p * (1.0 - p) / n + Z95 * Z95 / (4.0 * n * n)).sqrt();
    ((centre - half).max(0.0), (centre + half).min(1.0))
}

/// The chance of at most `few` heads in `n` throws of a fair coin (the one-sided sign test), by logarithms so that thousands of throws do
/// not underflow.
#[must_use]
pub fn fair_coin_tail(few: u64, n: u64) -> f64 {
    let mut log_term = -(n as f64) * std::f64::consts::LN_2;
    let mut tail = 0.0;
    for i in 0..=few.min(n) {
        tail += log_term.exp();
        log_term += ((n - i) as f64).ln() - ((i + 1) as f64).ln();
    }
    tail.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tails_are_those_of_the_binomial_distribution() {
        assert!((fair_coin_tail(0, 4) - 0.0625).abs() < 1e-12);
        assert!((fair_coin_tail(4, 4) - 1.0).abs() < 1e-12);
        assert!((fair_coin_tail(3, 10) - 0.171_875).abs() < 1e-12);
        assert_eq!(fair_coin_tail(0, 0), 1.0);
        // Half of the distribution, and half of the middle term (1000 over 500) / 2^1000 = 0.025225...: no power of two underflows.
        assert!((fair_coin_tail(500, 1000) - (0.5 + 0.025_225_018_178 / 2.0)).abs() < 1e-9);
        let far = fair_coin_tail(1000, 3000);
        assert!(far > 0.0 && far < 1e-70, "{far:e}");
    }

    #[test]
    fn wilsons_interval_is_the_textbooks() {
        // 8 of 10: R's binom.confint(8, 10, methods = "wilson").
        let (low, high) = wilson_ends(0.8, 10.0);
        assert!((low - 0.490_162_5).abs() < 1e-6 && (high - 0.943_317_8).abs() < 1e-6, "{low} {high}");
        assert_eq!((median(&[3.0, 1.0, 2.0]), median(&[4.0, 1.0, 2.0, 3.0])), (2.0, 2.5));
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn known_values() {
        assert_eq!(quantile_sorted(&[1.0, 2.0, 3.0, 4.0], 0.5), 2.5);
        // Conover's table: with 10 samples the 2nd and the 9th enclose the median.
        assert_eq!(quantile_ranks(10, 0.5), Some((1, 8)));
        assert_eq!(quantile_ranks(5, 0.5), None);
        for (df, t) in [(5.0, 2.571), (7.0, 2.365), (15.0, 2.131), (30.0, 2.042), (1e6, 1.960)] {
            assert!((t95(df) - t).abs() < 0.005 * t, "{df}: {} {t}", t95(df));
        }
        let w = wilson(8, 10);
        assert!((w.low - 0.4902).abs() < 1e-3 && (w.high - 0.9433).abs() < 1e-3, "{w:?}");
    }

    #[test]
    fn signed_ranks_follow_the_table() {
        // Wilcoxon's table, two-sided 5 %: the critical values 0, 2, 3, 5, 8, 25, 52; one more average lies outside.
        for (n, critical) in [(6, 0), (7, 2), (8, 3), (9, 5), (10, 8), (15, 25), (20, 52)] {
            assert_eq!(signed_rank_outside(n), Some(critical + 1), "{n}");
        }
        assert_eq!(signed_rank_outside(5), None);
        let i = signed_rank_interval(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!((i.low, i.value, i.high, i.samples), (1.0, 3.5, 6.0, 6));
        assert!(signed_rank_interval(&[]).value.is_nan());
    }

    #[test]
    fn the_order_statistic_interval_covers_the_median_often_enough() {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as f64 / (1u64 << 31) as f64
        };
        let covered = (0..2000)
            .filter(|_| {
                let s: Vec<f64> = (0..15).map(|_| next()).collect();
                let i = quantile_interval(&s, 0.5);
                i.low <= 0.5 && 0.5 <= i.high
            })
            .count();
        assert!((1880..=1990).contains(&covered), "{covered}");
    }

    proptest! {
        #[test]
        fn intervals_hold_their_value(samples in prop::collection::vec(0.0f64..1e6, 1..60), q in 0.01f64..0.99) {
            let i = quantile_interval(&samples, q);
            prop_assert!(i.low <= i.value && i.value <= i.high);
            let m = block_mean(&samples, 8);
            prop_assert!(m.low <= m.value && m.value <= m.high);
        }

        #[test]
        fn fractions_stay_fractions(n in 1u64..500, k in 0u64..500) {
            let i = wilson(k.min(n), n);
            prop_assert!(0.0 <= i.low && i.low <= i.value && i.value <= i.high && i.high <= 1.0);
        }
    }
}
