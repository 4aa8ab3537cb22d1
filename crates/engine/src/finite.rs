//! Numbers that are none: where they are found, and how the failure is worded so that it can be told from others.

use super::Token;

/// How the text begins of a failure whose cause is a value that is NaN or infinite. The text crosses the border of a process.
pub const NOT_A_NUMBER: &str = "not a number: ";

/// What is said of a value that is not finite.
#[must_use]
pub fn word(value: f64) -> &'static str {
    if value.is_nan() { "NaN" } else { "infinity" }
}

/// Whether the text of a failure says that a value was NaN or infinite.
#[must_use]
pub fn tells_of(failure: &str) -> bool {
    failure.contains(NOT_A_NUMBER)
}

/// The first entry of a row of logits that is NaN or infinite: its token and value.
#[must_use]
pub fn first_in(logits: &[f32]) -> Option<(Token, f32)> {
    // Without branches, so that it vectorises: an exponent of all ones is NaN or infinite, and gives NaN when it is multiplied by zero.
    let sum: f32 = logits.chunks(1024).map(|chunk| chunk.iter().map(|x| x * 0.0).sum::<f32>()).sum();
    if sum == 0.0 {
        return None;
    }
    logits.iter().position(|x| !x.is_finite()).map(|at| (at as Token, logits[at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_that_is_no_number_is_named() {
        let mut logits = vec![-3.5f32; 5000];
        assert_eq!(first_in(&logits), None);
        assert_eq!(first_in(&[]), None);
        assert_eq!(first_in(&[f32::MAX, f32::MIN, f32::MIN_POSITIVE]), None);
        logits[4097] = f32::NEG_INFINITY;
        assert_eq!(first_in(&logits), Some((4097, f32::NEG_INFINITY)));
        logits[33] = f32::NAN;
        let (token, value) = first_in(&logits).unwrap();
        assert!(token == 33 && value.is_nan());
        assert_eq!((word(f64::NAN), word(f64::NEG_INFINITY)), ("NaN", "infinity"));
    }
}
