//! Completion accuracy: how well known code is foreseen. Smooth where Pass@k is coarse, since every token and every line counts.

use serde::{Deserialize, Serialize};

use autotune_core::stats::{Interval, Z95, wilson};

/// What a model did with one line of held-out code, given all before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The line as it stands in the code, without white space around it.
    pub expected: String,
    /// What the model wrote, up to its first line break, likewise.
    pub written: String,
}

impl Line {
    /// Whether the two are the same.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        self.expected == self.written
    }

    /// How alike the two are; see [`edit_similarity`].
    #[must_use]
    pub fn similarity(&self) -> f64 {
        edit_similarity(&self.expected, &self.written)
    }
}

/// 1 − Levenshtein distance / length of the longer text, in characters: 1 for equal texts, 0 for texts with nothing in common.
///
/// ```
/// # use autotune_quality::accuracy::edit_similarity;
/// assert_eq!(edit_similarity("return a", "return b"), 1.0 - 1.0 / 8.0);
/// assert_eq!(edit_similarity("", ""), 1.0);
/// assert_eq!(edit_similarity("abc", ""), 0.0);
/// ```
#[must_use]
pub fn edit_similarity(a: &str, b: &str) -> f64 {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let longer = a.len().max(b.len());
    if longer == 0 {
        return 1.0;
    }
    // Wagner and Fischer 1974, one row at a time.
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    1.0 - row[b.len()] as f64 / longer as f64
}

/// The share of lines written exactly (Wilson's interval) and their mean similarity (normal interval of the mean). None without lines.
#[must_use]
pub fn of_lines(lines: &[Line]) -> Option<(Interval, Interval)> {
    if lines.is_empty() {
        return None;
    }
    let exact = lines.iter().filter(|l| l.is_exact()).count() as u64;
    let similarity: Vec<(f64, f64)> = lines.iter().map(|l| (l.similarity(), 1.0)).collect();
    let mut similarity = ratio(&similarity);
    similarity.low = similarity.low.max(0.0);
    similarity.high = similarity.high.min(1.0);
    Some((wilson(exact, lines.len() as u64), similarity))
}

/// The ratio of two sums over tasks, Σ value / Σ weight, with the 95 % interval of the ratio estimator (Cochran 1977, section 6.3): what
/// varies is the task, since the tokens of one solution depend on each other. `samples` is the sum of the weights, rounded. A value that
/// is no number makes the ratio infinite.
#[must_use]
pub fn ratio(tasks: &[(f64, f64)]) -> Interval {
    let (n, weight) = (tasks.len() as f64, tasks.iter().map(|t| t.1).sum::<f64>());
    let samples = weight.round() as u64;
    let value = tasks.iter().map(|t| t.0).sum::<f64>() / weight;
    if !value.is_finite() {
        return Interval { value: f64::INFINITY, low: f64::INFINITY, high: f64::INFINITY, samples };
    }
    let residuals: f64 = tasks.iter().map(|(v, w)| (v - value * w).powi(2)).sum();
    let half =
        if tasks.len() < 2 { f64::INFINITY } else { Z95 * (residuals * n / (n - 1.0)).sqrt() / weight };
    Interval { value, low: value - half, high: value + half, samples }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOLERANCE: f64 = 1e-12;

    #[test]
    fn similarity_is_that_of_levenshtein() {
        assert!((edit_similarity("kitten", "sitting") - (1.0 - 3.0 / 7.0)).abs() < TOLERANCE);
        assert!((edit_similarity("naïve", "naive") - 0.8).abs() < TOLERANCE, "characters, not bytes");
    }

    proptest! {
        #[test]
        fn similarity_is_symmetric_and_one_only_for_equals(a in "[ab]{0,8}", b in "[ab]{0,8}") {
            let s = edit_similarity(&a, &b);
            prop_assert!((0.0..=1.0).contains(&s));
            prop_assert_eq!(s, edit_similarity(&b, &a));
            prop_assert_eq!(s == 1.0, a == b);
        }
    }

    #[test]
    fn equal_weights_give_the_interval_of_a_mean() {
        let values = [1.0, 2.0, 4.0, 5.0];
        let i = ratio(&values.map(|v| (v, 1.0)));
        let sd = ((4.0 + 1.0 + 1.0 + 4.0) / 3.0f64).sqrt();
        assert!((i.value - 3.0).abs() < TOLERANCE);
        assert!((i.high - (3.0 + Z95 * sd / 2.0)).abs() < TOLERANCE, "{i:?}");
    }

    #[test]
    fn tokens_of_one_task_are_not_independent() {
        // Two tasks of 50 tokens, one all right and one all wrong: the interval must be that of two, not of a hundred.
        let i = ratio(&[(50.0, 50.0), (0.0, 50.0)]);
        assert!(i.value == 0.5 && i.high > 1.0 && i.samples == 100, "{i:?}");
        assert_eq!(ratio(&[(f64::INFINITY, 3.0), (1.0, 3.0)]).value, f64::INFINITY);
    }

    #[test]
    fn lines_are_counted_and_compared() {
        let line = |e: &str, w: &str| Line { expected: e.into(), written: w.into() };
        let (exact, similarity) = of_lines(&[line("return a", "return a"), line("abcd", "abxx")]).unwrap();
        assert_eq!((exact.value, exact.samples), (0.5, 2));
        assert!((similarity.value - 0.75).abs() < TOLERANCE && similarity.high <= 1.0);
        assert!(of_lines(&[]).is_none());
    }
}
