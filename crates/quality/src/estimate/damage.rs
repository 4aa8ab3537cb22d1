//! One number for how far a candidate is from the reference, from all that was measured token by token.

/// Another reading of the same damage: a rise of the loss on given text, or a fall of an agreement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Signal {
    /// How much worse than the reference, in a unit of its own; negative where it is better.
    pub value: f64,
    /// What the divergence that was measured lets one expect in that unit.
    pub expected: f64,
    /// The standard error of `value`.
    pub error: f64,
    /// Its say beside the divergence's of one.
    pub weight: f64,
}

/// No reading moves the divergence by more than this factor.
const MOST: f64 = 4.0;
/// Readings within so many standard errors of zero and of what is expected tell nothing.
const CLEAR: f64 = 2.0;

/// The divergence, moved towards what clear readings of other kinds say: a weighted mean of logarithms.
#[must_use]
pub fn combined(divergence: f64, signals: &[Signal]) -> f64 {
    let (mut sum, mut weights) = (0.0, 1.0);
    for s in signals {
        let clear = s.value > CLEAR * s.error && (s.value - s.expected).abs() > CLEAR * s.error;
        if !(clear && s.expected > 0.0 && s.value.is_finite()) {
            continue;
        }
        sum += s.weight * (s.value / s.expected).ln().clamp(-MOST.ln(), MOST.ln());
        weights += s.weight;
    }
    divergence * (sum / weights).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clear_readings_move_the_divergence_and_none_by_much() {
        let signal = |value, error| Signal { value, expected: 0.1, error, weight: 0.5 };
        assert_eq!(combined(0.05, &[]), 0.05);
        assert_eq!(combined(0.05, &[signal(0.3, 0.2)]), 0.05, "two standard errors of zero");
        assert_eq!(combined(0.05, &[signal(-0.3, 0.01)]), 0.05, "an improvement is no damage");
        assert!((combined(0.05, &[signal(0.8, 0.01)]) - 0.05 * 4f64.powf(1.0 / 3.0)).abs() < 1e-12);
        assert!((combined(0.05, &[signal(0.05, 0.01)]) - 0.05 * 0.5f64.powf(1.0 / 3.0)).abs() < 1e-12);
    }
}
