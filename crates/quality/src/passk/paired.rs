//! Two models on the same tasks: what was lost, what was gained, and whether chance explains it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::PasskError;
use autotune_core::stats::fair_coin_tail;

/// A paired comparison of two verdict vectors.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    /// Solved by both.
    pub both: u64,
    /// Solved by the reference only.
    pub lost: u64,
    /// Solved by the candidate only.
    pub gained: u64,
    /// Solved by neither.
    pub neither: u64,
    /// Two-sided exact p-value of McNemar's test.
    pub p_value: f64,
}

impl Paired {
    /// Tasks that the reference solved.
    #[must_use]
    pub fn reference_solved(&self) -> u64 {
        self.both + self.lost
    }

    /// Difference of the two pass rates, candidate minus reference, in [-1, 1].
    #[must_use]
    pub fn difference(&self) -> f64 {
        let tasks = self.both + self.lost + self.gained + self.neither;
        if tasks == 0 { 0.0 } else { (self.gained as f64 - self.lost as f64) / tasks as f64 }
    }

    /// For narrow columns: tasks lost and gained of those that the reference solved, `-3 +1 of 41, p = 0.62`.
    #[must_use]
    pub fn short(&self) -> String {
        let gained = if self.gained > 0 { format!(" +{}", self.gained) } else { String::new() };
        format!("-{}{gained} of {}, {}", self.lost, self.reference_solved(), self.chance())
    }

    fn chance(&self) -> String {
        if self.p_value < 0.001 { "p < 0.001".to_owned() } else { format!("p = {:.2}", self.p_value) }
    }
}

impl fmt::Display for Paired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.reference_solved() == 1 { "" } else { "s" };
        write!(f, "lost {} of {} solved task{plural}", self.lost, self.reference_solved())?;
        if self.gained > 0 {
            write!(f, ", gained {}", self.gained)?;
        }
        write!(f, ", {}", self.chance())
    }
}

/// McNemar's exact test (a two-sided sign test on the tasks where the two differ) of verdicts in the same order of tasks.
///
/// # Errors
/// Vectors of different lengths.
///
/// ```
/// # use autotune_quality::passk::mcnemar;
/// let reference = [true, true, true, true, false];
/// let candidate = [true, false, false, false, false];
/// assert_eq!(mcnemar(&reference, &candidate).unwrap().to_string(), "lost 3 of 4 solved tasks, p = 0.25");
/// ```
pub fn mcnemar(reference: &[bool], candidate: &[bool]) -> Result<Paired, PasskError> {
    if reference.len() != candidate.len() {
        return Err(PasskError::Unpaired { reference: reference.len(), candidate: candidate.len() });
    }
    let count = |r: bool, c: bool| {
        reference.iter().zip(candidate).filter(|&(&x, &y)| x == r && y == c).count() as u64
    };
    let (lost, gained) = (count(true, false), count(false, true));
    Ok(Paired {
        both: count(true, true),
        lost,
        gained,
        neither: count(false, false),
        p_value: sign_test(lost.min(gained), lost + gained),
    })
}

/// Two-sided p-value of at most `few` of `n` fair coins.
fn sign_test(few: u64, n: u64) -> f64 {
    (2.0 * fair_coin_tail(few, n)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_values_are_those_of_the_sign_test() {
        // 2 * (1/2)^3; 2 * (1 + 10) / 2^10; no differing task at all.
        assert!((sign_test(0, 3) - 0.25).abs() < 1e-12);
        assert!((sign_test(1, 10) - 22.0 / 1024.0).abs() < 1e-12);
        assert_eq!(sign_test(0, 0), 1.0);
        assert_eq!(sign_test(5, 10), 1.0);
        assert!(sign_test(400, 1000) < 1e-9);
    }

    #[test]
    fn the_sentence_names_losses_and_gains() {
        let reference: Vec<bool> = (0..50).map(|i| i < 41).collect();
        let candidate: Vec<bool> = (0..50).map(|i| (3..41).contains(&i)).collect();
        let paired = mcnemar(&reference, &candidate).unwrap();
        assert_eq!(paired.to_string(), "lost 3 of 41 solved tasks, p = 0.25");
        assert!((paired.difference() + 0.06).abs() < 1e-12);
        let better = mcnemar(&[true, false], &[false, true]).unwrap();
        assert_eq!(better.to_string(), "lost 1 of 1 solved task, gained 1, p = 1.00");
        assert!(mcnemar(&[true], &[]).is_err());
    }
}
