//! The nearest known word to a misspelt one.

/// The known word with the smallest edit distance to `found`, when it is near enough to be meant: at most a third of the
/// longer word's letters differ, case aside. The last dotted parts are compared too, so that `ffn.midle` finds `middle` and
/// `keep_ffn` finds `prune.keep_ffn`.
pub(crate) fn nearest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let found = found.to_lowercase();
    // A word far longer than any known one is no misspelling, and not worth the table.
    if found.chars().count() > 64 {
        return None;
    }
    let tail = |word: &str| word.rsplit('.').next().unwrap_or_default().to_owned();
    known
        .into_iter()
        .filter_map(|word| {
            let lower = word.to_lowercase();
            let distance = relative(&found, &lower).min(relative(&tail(&found), &tail(&lower)));
            (distance <= 1.0 / 3.0).then_some((word, distance))
        })
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(word, _)| word)
}

/// Edit distance over the longer length, in 0..=1.
fn relative(a: &str, b: &str) -> f64 {
    let longest = a.chars().count().max(b.chars().count()).max(1);
    distance(a, b) as f64 / longest as f64
}

/// Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours cost one each.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let changed = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (last[j] + 1).min(row[j - 1] + 1).min(last[j - 1] + changed);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_words_find_their_neighbour() {
        let known = ["weights.ffn", "weights.attn", "prune.keep_ffn", "threads", "batch"];
        let near = |word| nearest(word, known);
        assert_eq!(near("weights.fnn"), Some("weights.ffn"));
        assert_eq!(near("thread"), Some("threads"));
        assert_eq!(near("THREADS"), Some("threads"));
        assert_eq!(near("keep_ffn"), Some("prune.keep_ffn"));
        assert_eq!(nearest("weights.ffn.midle", ["early", "middle", "late"]), Some("middle"));
        assert_eq!(near("zebra"), None);
        assert_eq!(near(""), None);
        assert_eq!(near(&"x".repeat(10_000)), None);
    }

    #[test]
    fn distances_count_edits_and_swaps() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("batch", "bacth"), 1);
        assert_eq!(distance("same", "same"), 0);
    }
}
