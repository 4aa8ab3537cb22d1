//! Which statistics a number of samples carries. The one rule for everything that is printed or handed over: `bench`, the report, the
//! README and `trial.json` of an export.
//!
//! - A percentile is stated where at least one sample is expected beyond it: p95 from 20 samples on, p99 from 100. The median is always
//!   stated with its number of samples; from three on it is more than a repetition of what was measured.
//! - Samples are independent pieces of work: requests that run together end together, and count once.
//! - A time or a rate whose 95 % interval is wider than a factor of two is no figure but a warning with both ends.

/// An interval whose ends lie further apart than this factor says too little.
pub const WIDEST: f64 = 2.0;
/// Samples from which on a median is more than one of them.
pub const MEDIAN: u64 = 3;

/// Independent samples that the q-quantile needs.
#[must_use]
pub fn needed(q: f64) -> u64 {
    ((1.0 / (1.0 - q)).round() as u64).max(MEDIAN)
}

/// Whether so many independent samples carry the q-quantile.
#[must_use]
pub fn carries(q: f64, samples: u64) -> bool {
    samples >= needed(q)
}

/// The percentile that a metric's name says: `request_latency_p95_ms` is 0.95.
#[must_use]
pub fn quantile_of(metric: &str) -> Option<f64> {
    let part = metric.split('_').find_map(|part| part.strip_prefix('p')?.parse::<u32>().ok())?;
    (part > 0 && part < 100).then(|| f64::from(part) / 100.0)
}

/// Why a percentile beyond the median is not stated, in words; none where it is carried, or the metric is no such percentile.
#[must_use]
pub fn withheld(metric: &str, samples: u64) -> Option<String> {
    let q = quantile_of(metric).filter(|q| *q > 0.5 && !carries(*q, samples))?;
    Some(format!("p{:.0} needs {} samples, there are {samples}", 100.0 * q, needed(q)))
}

/// Whether the interval of a positive quantity is too wide for its value to be stated.
#[must_use]
pub fn is_too_noisy(low: f64, high: f64) -> bool {
    // Also an end that is no number or not positive.
    !matches!((high / low).partial_cmp(&WIDEST), Some(std::cmp::Ordering::Less | std::cmp::Ordering::Equal))
        || low <= 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_need_samples_beyond_them() {
        assert_eq!((needed(0.5), needed(0.95), needed(0.99)), (3, 20, 100));
        assert!(carries(0.95, 20) && !carries(0.95, 19) && carries(0.99, 100) && !carries(0.99, 99));
        assert_eq!(quantile_of("request_latency_p95_ms"), Some(0.95));
        assert_eq!(quantile_of("ttft_p50_ms"), Some(0.5));
        for none in ["peak_memory_bytes", "prompt_tokens_per_s", "pass_at_1", "p", "p100_ms", "p0_ms"] {
            assert_eq!(quantile_of(none), None, "{none}");
        }
        assert_eq!(withheld("ttft_p95_ms", 4).unwrap(), "p95 needs 20 samples, there are 4");
        assert_eq!(withheld("ttft_p50_ms", 1), None);
        assert_eq!(withheld("ttft_p95_ms", 20), None);
    }

    #[test]
    fn an_interval_wider_than_a_factor_of_two_is_a_warning() {
        assert!(!is_too_noisy(100.0, 200.0) && is_too_noisy(100.0, 201.0));
        assert!(is_too_noisy(3.5, 293.0) && is_too_noisy(0.0, 1.0) && is_too_noisy(-1.0, 1.0));
        assert!(is_too_noisy(1.0, f64::INFINITY) && is_too_noisy(f64::NAN, 1.0));
        assert!(!is_too_noisy(5.0, 5.0));
    }
}
