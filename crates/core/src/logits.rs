//! What is read off a row of logits.

/// A token's number in the model's vocabulary.
pub type Token = i32;

/// The index of the largest logit; the first of equals, so that greedy text is deterministic.
#[must_use]
pub fn argmax(logits: &[f32]) -> Token {
    let mut best = 0;
    let mut best_value = f32::NEG_INFINITY;
    for (i, &v) in logits.iter().enumerate() {
        if v > best_value {
            best = i;
            best_value = v;
        }
    }
    best as Token
}

/// log(sum(exp(logits))), stable. Not a number where a logit is none.
#[must_use]
pub fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.chunks(2048).map(|chunk| f64::from(sum_exp(chunk, max))).sum();
    f64::from(max) + sum.ln()
}

/// Independent sums, so that the compiler may use wide registers.
const LANES: usize = 16;

fn sum_exp(logits: &[f32], max: f32) -> f32 {
    let mut sums = [0.0f32; LANES];
    let groups = logits.chunks_exact(LANES);
    let rest = groups.remainder();
    for group in groups {
        for (sum, l) in sums.iter_mut().zip(group) {
            *sum += exp(l - max);
        }
    }
    sums.iter().sum::<f32>() + rest.iter().map(|l| exp(l - max)).sum::<f32>()
}

/// e^x for x up to 0, without branches or calls, so that it vectorises: every position of a window needs one for each entry of the
/// vocabulary. Within 2e-7 of the exact value, relatively; below -87 it gives e^-87. x = n ln 2 + r, and a Taylor polynomial for e^r.
#[inline]
fn exp(x: f32) -> f32 {
    /// 1.5 * 2^23: adding it rounds to a whole number, which stands in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Not `max`: it would hide what is no number.
    let x = if x < -87.0 { -87.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    let p = 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = p * r + 1.0;
    let p = p * r + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    p * f32::from_bits(exponent)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Largest accepted relative error of `exp`.
    const EXP_TOLERANCE: f64 = 3e-7;
    /// Largest accepted error of the logarithm of a sum of thousands of terms.
    const SUM_TOLERANCE: f64 = 2e-6;

    #[test]
    fn exp_is_exp() {
        for i in 0..=870_000 {
            let x = -(i as f32) * 1e-4;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) - exact).abs() <= EXP_TOLERANCE * exact, "{x}");
        }
        assert!(exp(-1e30) < 2e-38 && exp(f32::NEG_INFINITY) < 2e-38);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn what_is_no_number_shows() {
        let mut logits = vec![1.0f32; 100];
        logits[37] = f32::NAN;
        assert!(log_sum_exp(&logits).is_nan());
        assert_eq!(argmax(&[f32::NAN, 1.0, 2.0, 2.0]), 2);
    }

    proptest! {
        #[test]
        fn the_sum_is_the_sum(logits in prop::collection::vec(-60f32..60.0, 1..3000)) {
            let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            let exact = max + logits.iter().map(|&l| (f64::from(l) - max).exp()).sum::<f64>().ln();
            prop_assert!((log_sum_exp(&logits) - exact).abs() < SUM_TOLERANCE);
        }
    }
}
