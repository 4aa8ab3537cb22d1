//! The two n-gram components: BLEU with smoothing, and the keyword-weighted recall.
//!
//! BLEU: Papineni, Roukos, Ward and Zhu, "BLEU: a method for automatic evaluation of machine translation", ACL 2002; smoothing
//! method 1 (add 0.1 to a count of zero): Chen and Cherry, "A systematic comparison of smoothing techniques for sentence-level BLEU",
//! WMT 2014; the weighted form: Ren et al., "CodeBLEU", 2020, section 3.1, as the published package computes it.

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

/// The n-grams of one token sequence, counted.
#[derive(Debug, Default)]
pub(super) struct Grams {
    /// Number of tokens.
    tokens: usize,
    /// For n = 1..=4: distinct n-grams by ascending hash.
    orders: [Vec<Gram>; ORDERS],
}

#[derive(Debug, Clone, Copy)]
struct Gram {
    hash: u64,
    count: u32,
    keyword: bool,
}

impl Gram {
    fn weight(&self, order: usize) -> f64 {
        if order == 0 && !self.keyword { PLAIN_WEIGHT } else { 1.0 }
    }
}

impl Grams {
    /// Counts the n-grams of a sequence.
    pub(super) fn new(tokens: &[Token]) -> Self {
        let orders = std::array::from_fn(|order| {
            let mut grams: Vec<Gram> = tokens
                .windows(order + 1)
                .map(|window| Gram {
                    hash: window.iter().fold(order as u64, |hash, token| hash::mix(hash, token.hash)),
                    count: 1,
                    keyword: window[0].keyword,
                })
                .collect();
            grams.sort_unstable_by_key(|gram| gram.hash);
            grams.dedup_by(|next, kept| {
                let same = next.hash == kept.hash;
                kept.count += u32::from(same);
                same
            });
            grams
        });
        Self { tokens: tokens.len(), orders }
    }

    /// Number of tokens.
    pub(super) fn tokens(&self) -> usize {
        self.tokens
    }

    fn total(&self, order: usize) -> f64 {
        self.tokens.saturating_sub(order) as f64
    }
}

/// Calls `found` with the number of each of `a`'s n-grams and its count in `b` where it occurs there.
fn matches(a: &[Gram], b: &[Gram], mut found: impl FnMut(usize, u32)) {
    let mut rest = b.iter().peekable();
    for (at, gram) in a.iter().enumerate() {
        while rest.next_if(|other| other.hash < gram.hash).is_some() {}
        if let Some(other) = rest.next_if(|other| other.hash == gram.hash) {
            found(at, other.count);
        }
    }
}

/// BLEU of a prediction: clipped precision, against the largest count in any reference, times the brevity penalty.
pub(super) fn bleu<'g>(
    prediction: &Grams,
    references: impl Iterator<Item = &'g Grams> + Clone,
    orders: usize,
) -> f64 {
    let mut numerators = [0.0; ORDERS];
    let mut denominators = [1.0; ORDERS];
    for order in 0..ORDERS {
        let grams = &prediction.orders[order];
        let mut largest = vec![0u32; grams.len()];
        for reference in references.clone() {
            matches(grams, &reference.orders[order], |at, count| largest[at] = largest[at].max(count));
        }
        let clipped: u64 =
            grams.iter().zip(&largest).map(|(gram, most)| u64::from(gram.count.min(*most))).sum();
        numerators[order] = clipped as f64;
        denominators[order] = prediction.total(order).max(1.0);
    }
    let lengths = references.map(|reference| reference.tokens);
    smoothed_mean(&numerators, &denominators, orders) * brevity_penalty(prediction.tokens, lengths)
}

/// The factor by which the published weighted match punishes short predictions: it takes every reference for two tokens long (its
/// references are pairs of tokens and weights, and it measures the pair).
pub(super) fn published_weighted_penalty(prediction: &Grams) -> f64 {
    brevity_penalty(prediction.tokens, std::iter::once(2))
}

/// The keyword-weighted match of a prediction: recall, summed over the references. Unigrams that are no keywords weigh a fifth; longer
/// n-grams weigh 1. A reference's total counts as at least `least`: 1 in the published package, where the one token `x`, weighing a
/// fifth, is therefore recalled by a fifth at most.
pub(super) fn weighted_recall<'g>(
    prediction: &Grams,
    references: impl Iterator<Item = &'g Grams>,
    orders: usize,
    least: f64,
) -> f64 {
    let mut numerators = [0.0; ORDERS];
    let mut denominators = [0.0; ORDERS];
    for reference in references {
        for order in 0..ORDERS {
            let grams = &reference.orders[order];
            matches(grams, &prediction.orders[order], |at, count| {
                numerators[order] += f64::from(grams[at].count.min(count)) * grams[at].weight(order);
            });
            let total: f64 = grams.iter().map(|gram| f64::from(gram.count) * gram.weight(order)).sum();
            denominators[order] += total.max(least);
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

    fn grams(text: &str) -> Grams {
        let tokens: Vec<_> = text.split(' ').map(|t| Token::new(t, t == "return")).collect();
        Grams::new(&tokens)
    }

    #[test]
    fn bleu_by_hand() {
        let (prediction, reference) = (grams("a b c d e"), grams("a b c d f"));
        // precisions 4/5, 3/4, 2/3, 1/2; equal lengths
        let expected = (0.8f64 * 0.75 * (2.0 / 3.0) * 0.5).powf(0.25);
        assert!((bleu(&prediction, [&reference].into_iter(), 4) - expected).abs() < 1e-12);
        assert_eq!(bleu(&grams("x y"), [&reference].into_iter(), 4), 0.0);
        // A repeated token counts as often as the reference has it.
        let repeated = bleu(&grams("a a a a"), [&reference].into_iter(), 1);
        assert!((repeated - 0.25 * (1.0f64 - 5.0 / 4.0).exp()).abs() < 1e-12);
    }

    #[test]
    fn keywords_weigh_five_times() {
        let reference = grams("return x");
        let keyword = weighted_recall(&grams("return y"), [&reference].into_iter(), 1, 1.0);
        let name = weighted_recall(&grams("y x"), [&reference].into_iter(), 1, 1.0);
        assert!((keyword / name - 5.0).abs() < 1e-12, "{keyword} {name}");
    }

    #[test]
    fn a_short_identical_pair_fills_two_orders() {
        let line = grams("return x");
        assert_eq!(filled_orders(line.tokens), 2);
        assert!((bleu(&line, [&line].into_iter(), 2) - 1.0).abs() < 1e-12);
        assert!(
            bleu(&line, [&line].into_iter(), ALL_ORDERS) < 0.4,
            "the published rule smooths what cannot be there"
        );
    }

    #[test]
    fn counts_add_up() {
        let grams = grams("a b a b a");
        for order in 0..ORDERS {
            let counted: u32 = grams.orders[order].iter().map(|g| g.count).sum();
            assert_eq!(f64::from(counted), grams.total(order));
        }
    }
}
