//! The two n-gram components: BLEU with smoothing, and the keyword-weighted recall.
//!
//! BLEU: Papineni, Roukos, Ward and Zhu, "BLEU: a method for automatic evaluation of machine translation", ACL 2002; smoothing
//! method 1 (add 0.1 to a count of zero): Chen and Cherry, "A systematic comparison of smoothing techniques for sentence-level BLEU",
//! WMT 2014; the weighted form: Ren et al., "CodeBLEU", 2020, section 3.1, as the published package computes it.
//!
//! A reference is counted once into a table ([`Counted`]); a prediction ([`Grams`]) is looked up in it, gram by gram. The counts in
//! common that result serve both components.

use super::hash;

/// The longest n-grams.
const ORDERS: usize = 4;
/// What smoothing puts in place of a count of zero.
const EPSILON: f64 = 0.1;
/// The weight of a unigram that is no keyword.
const PLAIN_WEIGHT: f64 = 0.2;

/// A token reduced to what is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    /// Hash of the text.
    pub(super) hash: u64,
    /// Whether it is one of the language's keywords.
    pub(super) keyword: bool,
}

impl Token {
    pub(super) fn new(text: &str, keyword: bool) -> Self {
        Self { hash: hash::text(text), keyword }
    }

    /// The token of a variable of which only a label matters.
    pub(super) fn variable(label: u64) -> Self {
        Self { hash: hash::mix(u64::MAX, label), keyword: false }
    }
}

/// The n-grams of one token sequence, in order.
#[derive(Debug, Default)]
pub(super) struct Grams {
    /// Number of tokens.
    tokens: usize,
    /// Hashes of the n-grams for n = 1, then for n = 2, ... up to 4.
    hashes: Vec<u64>,
}

impl Grams {
    /// Lists the n-grams of a sequence.
    pub(super) fn new(tokens: &[Token]) -> Self {
        let count = tokens.len();
        let mut hashes = Vec::with_capacity(ORDERS * count);
        hashes.extend(tokens.iter().map(|token| token.hash));
        // Where the n-grams that are one shorter begin.
        let mut shorter = 0;
        for order in 1..ORDERS.min(count) {
            for (at, last) in tokens[order..].iter().enumerate() {
                hashes.push(hash::mix(hashes[shorter + at], last.hash));
            }
            shorter += count - order + 1;
        }
        Self { tokens: count, hashes }
    }

    /// Number of tokens.
    pub(super) fn tokens(&self) -> usize {
        self.tokens
    }

    fn total(&self, order: usize) -> usize {
        self.tokens.saturating_sub(order)
    }

    /// The n-grams with n - 1 of each.
    fn by_order(&self) -> impl Iterator<Item = (usize, &[u64])> {
        let mut rest = self.hashes.as_slice();
        (0..ORDERS).map(move |order| {
            let (these, longer) = rest.split_at(self.total(order));
            rest = longer;
            (order, these)
        })
    }
}

/// A distinct n-gram.
#[derive(Debug, Clone, Copy)]
struct Entry {
    hash: u64,
    count: u32,
    weighs_less: bool,
}

impl Entry {
    fn weight(&self) -> f64 {
        f64::from(self.count) * if self.weighs_less { PLAIN_WEIGHT } else { 1.0 }
    }
}

/// The n-grams of one or more token sequences, counted, in a table that is searched by hash.
#[derive(Debug, Default)]
pub(super) struct Counted {
    /// Number of tokens.
    tokens: usize,
    entries: Vec<Entry>,
    /// One more than the number of the entry, at the place of its hash or the next free one; 0 where there is none. A power of two, at
    /// least half of it free.
    slots: Vec<u32>,
    /// The weights of all n-grams, by order.
    totals: [f64; ORDERS],
}

impl Counted {
    /// Counts the n-grams of a sequence.
    pub(super) fn new(tokens: &[Token]) -> Self {
        let grams = Grams::new(tokens);
        let mut counted = Self { tokens: grams.tokens, ..Self::with_room(grams.hashes.len()) };
        for (order, hashes) in grams.by_order() {
            for (at, hash) in hashes.iter().enumerate() {
                let weighs_less = order == 0 && !tokens[at].keyword;
                counted.entry(*hash, weighs_less).count += 1;
            }
            counted.totals[order] = hashes.len() as f64;
            if order == 0 {
                // A word may be a keyword here and a name there; it weighs what it is at first.
                counted.totals[0] = counted.entries.iter().map(Entry::weight).sum();
            }
        }
        counted
    }

    /// Each n-gram with the largest count that it has in any of several references.
    pub(super) fn largest(references: &[Self]) -> Self {
        let mut largest = Self::with_room(references.iter().map(|reference| reference.entries.len()).sum());
        for other in references.iter().flat_map(|reference| &reference.entries) {
            let entry = largest.entry(other.hash, other.weighs_less);
            entry.count = entry.count.max(other.count);
        }
        largest
    }

    fn with_room(grams: usize) -> Self {
        let slots = vec![0; (2 * grams).next_power_of_two()];
        Self { slots, entries: Vec::with_capacity(grams), ..Self::default() }
    }

    /// Number of tokens.
    pub(super) fn tokens(&self) -> usize {
        self.tokens
    }

    /// The place of a hash: where its entry's number is, or would be.
    fn slot(&self, hash: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at] != 0 && self.entries[self.slots[at] as usize - 1].hash != hash {
            at = (at + 1) & mask;
        }
        at
    }

    fn entry(&mut self, hash: u64, weighs_less: bool) -> &mut Entry {
        let slot = self.slot(hash);
        if self.slots[slot] == 0 {
            self.entries.push(Entry { hash, count: 0, weighs_less });
            self.slots[slot] = self.entries.len() as u32;
        }
        let entry = self.slots[slot] as usize - 1;
        &mut self.entries[entry]
    }

    /// What a prediction has in common with this: each n-gram as often as it is in both.
    pub(super) fn in_common(&self, prediction: &Grams) -> InCommon {
        let mut left: Vec<u32> = self.entries.iter().map(|entry| entry.count).collect();
        let mut common = InCommon::default();
        for (order, hashes) in prediction.by_order() {
            let mut counts = [0u32; 2];
            for hash in hashes {
                let number = self.slots[self.slot(*hash)] as usize;
                if number != 0 && left[number - 1] > 0 {
                    left[number - 1] -= 1;
                    counts[usize::from(self.entries[number - 1].weighs_less)] += 1;
                }
            }
            let [full, less] = counts.map(f64::from);
            common.counts[order] = full + less;
            common.weights[order] = full + less * PLAIN_WEIGHT;
        }
        common
    }
}

/// The n-grams that a prediction and a reference share, by order.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct InCommon {
    counts: [f64; ORDERS],
    weights: [f64; ORDERS],
}

/// BLEU of a prediction: precision, clipped to the largest count in any reference, times the brevity penalty. `common` is what the
/// prediction shares with those largest counts; `lengths` are the references' numbers of tokens.
pub(super) fn bleu(
    prediction: &Grams,
    common: &InCommon,
    lengths: impl Iterator<Item = usize>,
    orders: usize,
) -> f64 {
    let denominators = std::array::from_fn(|order| prediction.total(order).max(1) as f64);
    smoothed_mean(&common.counts, &denominators, orders) * brevity_penalty(prediction.tokens, lengths)
}

/// The factor by which the published weighted match punishes short predictions: it takes every reference for two tokens long (its
/// references are pairs of tokens and weights, and it measures the pair).
pub(super) fn published_weighted_penalty(prediction: &Grams) -> f64 {
    brevity_penalty(prediction.tokens, std::iter::once(2))
}

/// The keyword-weighted match: recall, summed over the references and what the prediction shares with each. Unigrams that are no
/// keywords weigh a fifth; longer n-grams weigh 1. A reference's total counts as at least `least`: 1 in the published package, where
/// the one token `x`, weighing a fifth, is therefore recalled by a fifth at most.
pub(super) fn weighted_recall<'g>(
    references: impl Iterator<Item = (&'g Counted, &'g InCommon)>,
    orders: usize,
    least: f64,
) -> f64 {
    let mut numerators = [0.0; ORDERS];
    let mut denominators = [0.0; ORDERS];
    for (reference, common) in references {
        for order in 0..ORDERS {
            numerators[order] += common.weights[order];
            denominators[order] += reference.totals[order].max(least);
        }
    }
    smoothed_mean(&numerators, &denominators, orders)
}

/// The geometric mean of the first `orders` ratios, zero counts smoothed; 0 without a single common token.
fn smoothed_mean(numerators: &[f64; ORDERS], denominators: &[f64; ORDERS], orders: usize) -> f64 {
    if numerators[0] == 0.0 {
        return 0.0;
    }
    let logarithms: f64 = numerators
        .iter()
        .zip(denominators)
        .take(orders)
        .map(|(n, d)| (if *n == 0.0 { EPSILON } else { *n } / d).ln())
        .sum();
    (logarithms / orders.max(1) as f64).exp()
}

/// BLEU's penalty for a prediction shorter than the reference that is closest in length (the shorter one on a tie).
fn brevity_penalty(length: usize, references: impl Iterator<Item = usize>) -> f64 {
    let closest = references.min_by_key(|tokens| (tokens.abs_diff(length), *tokens)).unwrap_or(0);
    if length > closest {
        1.0
    } else if length == 0 {
        0.0
    } else {
        (1.0 - closest as f64 / length as f64).exp()
    }
}

/// The orders that the published package always uses.
pub(super) const ALL_ORDERS: usize = ORDERS;

/// The orders that a sequence of this many tokens has n-grams of: three tokens have no 4-grams to miss.
pub(super) fn filled_orders(tokens: usize) -> usize {
    tokens.clamp(1, ORDERS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> Vec<Token> {
        text.split(' ').map(|t| Token::new(t, t == "return")).collect()
    }

    fn bleu_of(prediction: &str, reference: &str, orders: usize) -> f64 {
        let (grams, counted) = (Grams::new(&tokens(prediction)), Counted::new(&tokens(reference)));
        bleu(&grams, &counted.in_common(&grams), std::iter::once(counted.tokens()), orders)
    }

    #[test]
    fn bleu_by_hand() {
        // precisions 4/5, 3/4, 2/3, 1/2; equal lengths
        let expected = (0.8f64 * 0.75 * (2.0 / 3.0) * 0.5).powf(0.25);
        assert!((bleu_of("a b c d e", "a b c d f", 4) - expected).abs() < 1e-12);
        assert_eq!(bleu_of("x y", "a b c d f", 4), 0.0);
        // A repeated token counts as often as the reference has it.
        let repeated = bleu_of("a a a a", "a b c d f", 1);
        assert!((repeated - 0.25 * (1.0f64 - 5.0 / 4.0).exp()).abs() < 1e-12);
    }

    #[test]
    fn several_references_clip_to_the_largest_count() {
        let references = ["a a b", "b b c a"].map(|text| Counted::new(&tokens(text)));
        let largest = Counted::largest(&references);
        let common = largest.in_common(&Grams::new(&tokens("a a a b b b c d")));
        assert_eq!(common.counts[0], 5.0, "two a, two b, one c");
        assert_eq!(common.counts[1], 4.0, "a a, a b, b b, b c: {common:?}");
    }

    #[test]
    fn keywords_weigh_five_times() {
        let reference = Counted::new(&tokens("return x"));
        let recall = |prediction| {
            let common = reference.in_common(&Grams::new(&tokens(prediction)));
            weighted_recall(std::iter::once((&reference, &common)), 1, 1.0)
        };
        let (keyword, name) = (recall("return y"), recall("y x"));
        assert!((keyword / name - 5.0).abs() < 1e-12, "{keyword} {name}");
    }

    #[test]
    fn a_word_that_is_keyword_and_name_weighs_alike_everywhere() {
        let (keyword, name) = (Token::new("match", true), Token::new("match", false));
        for tokens in [[keyword, name, name], [name, keyword, name]] {
            let (grams, counted) = (Grams::new(&tokens), Counted::new(&tokens));
            let common = counted.in_common(&grams);
            assert_eq!(weighted_recall(std::iter::once((&counted, &common)), 3, 0.0), 1.0);
        }
    }

    #[test]
    fn a_short_identical_pair_fills_two_orders() {
        let line = "return x";
        assert_eq!(filled_orders(2), 2);
        assert!((bleu_of(line, line, 2) - 1.0).abs() < 1e-12);
        assert!(bleu_of(line, line, ALL_ORDERS) < 0.4, "the published rule smooths what cannot be there");
    }

    #[test]
    fn counts_add_up() {
        for text in ["a b a b a", "a", "a a", "a b c"] {
            let (grams, counted) = (Grams::new(&tokens(text)), Counted::new(&tokens(text)));
            let expected = std::array::from_fn(|order| grams.total(order) as f64);
            assert_eq!(counted.in_common(&grams).counts, expected, "{text}");
            let counted: u32 = counted.entries.iter().map(|entry| entry.count).sum();
            assert_eq!(counted as usize, grams.hashes.len(), "{text}");
        }
        assert_eq!(Counted::new(&[]).in_common(&Grams::new(&tokens("a b"))).counts, [0.0; ORDERS]);
    }

    proptest::proptest! {
        #[test]
        fn the_table_counts_what_a_map_counts(
            prediction in proptest::collection::vec(0u64..6, 0..40),
            reference in proptest::collection::vec(0u64..6, 0..40),
        ) {
            use std::collections::BTreeMap;
            let tokens = |numbers: &[u64]| -> Vec<Token> {
                numbers.iter().map(|number| Token::new(&number.to_string(), *number == 0)).collect()
            };
            let common = Counted::new(&tokens(&reference)).in_common(&Grams::new(&tokens(&prediction)));
            for order in 0..ORDERS {
                let count = |numbers: &[u64]| {
                    let mut counts: BTreeMap<Vec<u64>, u32> = BTreeMap::new();
                    numbers.windows(order + 1).for_each(|gram| *counts.entry(gram.to_vec()).or_default() += 1);
                    counts
                };
                let (a, b) = (count(&prediction), count(&reference));
                let both: u32 = a.iter().map(|(gram, n)| *n.min(b.get(gram).unwrap_or(&0))).sum();
                proptest::prop_assert_eq!(common.counts[order], f64::from(both));
            }
        }
    }
}
