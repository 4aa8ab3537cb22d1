//! How many tasks tell two pass rates apart.

/// Two-sided error of 5 %.
const Z_ALPHA: f64 = 1.959_964;
/// Found in four cases of five.
const Z_POWER: f64 = 0.841_621;

/// The number of tasks on which McNemar's test tells apart two models whose pass rates differ by `difference`, where a share
/// `discordant` of the tasks is solved by one of them only: found with 80 % power at p < 0.05 (Connor 1987, "Sample size for testing
/// differences in proportions for the paired-sample design", equation 5). None where there is no difference.
#[must_use]
pub fn tasks_needed(difference: f64, discordant: f64) -> Option<u64> {
    let difference = difference.abs();
    if difference.is_nan() || difference < 1e-6 {
        return None;
    }
    let psi = discordant.clamp(difference, 1.0);
    let root = Z_ALPHA * psi.sqrt() + Z_POWER * (psi - difference * difference).max(0.0).sqrt();
    Some((root / difference).powi(2).ceil() as u64)
}

/// The least difference of two pass rates that so many tasks tell, by bisection of [`tasks_needed`]; 1 where even that is not told.
#[must_use]
pub fn distinguishable_from(tasks: u64, discordant: f64) -> f64 {
    let (mut low, mut high) = (1e-4, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        match tasks_needed(middle, discordant) {
            Some(n) if n <= tasks => high = middle,
            _ => low = middle,
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_paper() {
        // A tenth more solved by one, where 3 of 10 tasks differ: (1.96 * 0.5477 + 0.8416 * 0.5385)^2 / 0.01.
        assert_eq!(tasks_needed(0.1, 0.3), Some(234));
        assert_eq!(tasks_needed(-0.1, 0.3), Some(234));
        assert_eq!(tasks_needed(0.0, 0.3), None);
        assert_eq!(tasks_needed(f64::NAN, 0.3), None);
        // Fewer differing tasks than the difference itself cannot be.
        assert_eq!(tasks_needed(0.2, 0.0), tasks_needed(0.2, 0.2));
    }

    #[test]
    fn the_least_difference_is_the_inverse() {
        let least = distinguishable_from(164, 0.2);
        assert!(
            tasks_needed(least + 0.001, 0.2).unwrap() <= 164
                && tasks_needed(least - 0.001, 0.2).unwrap() > 164
        );
        assert!(distinguishable_from(40, 0.2) > least);
        assert!((distinguishable_from(0, 0.2) - 1.0).abs() < 1e-9);
    }
}
