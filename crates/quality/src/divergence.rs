//! How far a candidate's predictions lie from the reference's: KL divergence and top-1 agreement on held-out code.
//!
//! The reference's distribution at each position is kept as its `k` most likely tokens and the rest as one lump. By the data-processing
//! inequality the divergence of the lumped distributions never exceeds the full one; with k = 256 of 49,152 tokens the two differ by
//! less than the standard error (tested against the full sum).

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use autotune_core::logits::log_sum_exp;
use autotune_core::stats::{Interval, block_mean, quantile_sorted, sorted};

const MAGIC: &[u8; 8] = b"ATREF\x00\x02\n";
/// Limit on counts read from a file, so that a damaged one cannot demand the machine's memory.
const MOST: u32 = 1 << 24;
/// Positions at the start of each window that are not scored: with hardly any context, both models guess.
pub const UNSCORED: usize = 8;
/// Tokens kept of each distribution.
pub const KEPT: usize = 256;
/// Positions that make one block of the standard error: neighbours are correlated.
const BLOCK: usize = 32;

/// The reference's predictions on a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// Vocabulary size of the model that made it.
    pub vocabulary: u32,
    /// The text, in windows that are decoded each on its own.
    pub windows: Vec<Vec<i32>>,
    /// For each scored position, in order: the most likely tokens, likeliest first.
    pub tops: Vec<Top>,
}

/// The head of one distribution.
#[derive(Clone, Debug, PartialEq)]
pub struct Top {
    /// Token numbers, likeliest first.
    pub tokens: Vec<u32>,
    /// Their natural log-probabilities.
    pub log_probs: Vec<f32>,
}

/// How a candidate compares with the reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Divergence {
    /// Mean KL(reference || candidate), in nats.
    pub kl_mean: Interval,
    /// 99th percentile of the KL over positions, in nats.
    #[serde(with = "autotune_core::units::any_number")]
    pub kl_p99: f64,
    /// Fraction of positions where both find the same token likeliest.
    pub top1_agreement: Interval,
    /// Mean negative log-likelihood of the text under the candidate, in nats per token.
    pub nll: Interval,
    /// Positions scored.
    pub positions: u64,
}

/// What one position contributes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Position {
    /// KL(reference || candidate), in nats.
    pub kl: f64,
    /// Whether the likeliest tokens agree.
    pub agrees: bool,
    /// Negative log-likelihood of the token that follows, in nats.
    pub nll: f64,
}

impl Top {
    /// The `k` likeliest entries of a distribution given as logits.
    #[must_use]
    pub fn of(logits: &[f32], k: usize) -> Self {
        let norm = log_sum_exp(logits);
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        let by_logit = |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
        let k = k.min(order.len());
        if k < order.len() {
            order.select_nth_unstable_by(k, by_logit);
            order.truncate(k);
        }
        order.sort_unstable_by(by_logit);
        let log_probs = order.iter().map(|&t| (f64::from(logits[t as usize]) - norm) as f32).collect();
        Self { tokens: order, log_probs }
    }

    /// Compares a candidate's logits at the same position; `next` is the token that follows in the text.
    #[must_use]
    pub fn compare(&self, logits: &[f32], next: i32) -> Position {
        let norm = log_sum_exp(logits);
        let log_q =
            |token: u32| logits.get(token as usize).map_or(f64::NEG_INFINITY, |&l| f64::from(l) - norm);
        let (mut kl, mut p_head, mut q_head) = (0.0, 0.0, 0.0);
        for (&token, &log_p) in self.tokens.iter().zip(&self.log_probs) {
            let (log_p, log_q) = (f64::from(log_p), log_q(token));
            let p = log_p.exp();
            kl += p * (log_p - log_q);
            p_head += p;
            q_head += log_q.exp();
        }
        let (p_rest, q_rest) = (1.0 - p_head, 1.0 - q_head);
        if p_rest > 1e-9 {
            kl += p_rest * (p_rest.ln() - q_rest.max(1e-12).ln());
        }
        let best = autotune_core::logits::argmax(logits);
        Position {
            // NaN marks a broken model; `max` would hide it.
            kl: if kl.is_nan() { f64::INFINITY } else { kl.max(0.0) },
            agrees: self.tokens.first() == Some(&(best as u32)),
            nll: -log_q(next as u32),
        }
    }
}

/// Sums up positions, in text order. A position that is not a number (a broken model) makes the divergence infinite.
#[must_use]
pub fn summarize(positions: &[Position]) -> Divergence {
    let blocks = (positions.len() / BLOCK).max(1);
    let column = |f: fn(&Position) -> f64| -> Vec<f64> {
        positions.iter().map(|p| if f(p).is_nan() { f64::INFINITY } else { f(p) }).collect()
    };
    let mean = |values: &[f64], most: f64| {
        if values.iter().any(|v| v.is_infinite()) {
            return Interval {
                value: f64::INFINITY,
                low: f64::INFINITY,
                high: f64::INFINITY,
                samples: values.len() as u64,
            };
        }
        let mut i = block_mean(values, blocks);
        i.low = i.low.max(0.0);
        i.high = i.high.min(most);
        i
    };
    let kl = column(|p| p.kl);
    Divergence {
        kl_mean: mean(&kl, f64::INFINITY),
        kl_p99: quantile_sorted(&sorted(&kl), 0.99),
        top1_agreement: mean(&column(|p| f64::from(u8::from(p.agrees))), 1.0),
        nll: mean(&column(|p| p.nll), f64::INFINITY),
        positions: positions.len() as u64,
    }
}

/// A file that is no reference, or a damaged one.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// Reading or writing failed.
    #[error("failed to read or write the reference predictions: {0}")]
    Io(#[from] io::Error),
    /// The content is not what we write.
    #[error("the file of reference predictions is damaged ({0}); delete it, and it is recomputed")]
    Damaged(&'static str),
}

impl Reference {
    /// Writes the reference in its binary form (little endian).
    ///
    /// # Errors
    /// The disk.
    pub fn write(&self, out: &mut impl Write) -> Result<(), ReferenceError> {
        let put = |out: &mut dyn Write, n: u32| out.write_all(&n.to_le_bytes());
        out.write_all(MAGIC)?;
        put(out, self.vocabulary)?;
        put(out, self.windows.len() as u32)?;
        for window in &self.windows {
            put(out, window.len() as u32)?;
            for &token in window {
                out.write_all(&token.to_le_bytes())?;
            }
        }
        put(out, self.tops.len() as u32)?;
        for top in &self.tops {
            put(out, top.tokens.len() as u32)?;
            for (token, log_prob) in top.tokens.iter().zip(&top.log_probs) {
                put(out, *token)?;
                out.write_all(&log_prob.to_le_bytes())?;
            }
        }
        Ok(())
    }

    /// Reads what [`Reference::write`] wrote.
    ///
    /// # Errors
    /// The disk, or a damaged file.
    pub fn read(input: &mut impl Read) -> Result<Self, ReferenceError> {
        let mut magic = [0; 8];
        input.read_exact(&mut magic)?;
        if &magic != MAGIC {
            return Err(ReferenceError::Damaged("wrong first bytes"));
        }
        let number = |input: &mut dyn Read| -> Result<u32, ReferenceError> {
            let mut bytes = [0; 4];
            input.read_exact(&mut bytes)?;
            Ok(u32::from_le_bytes(bytes))
        };
        let count = |input: &mut dyn Read| match number(input)? {
            n if n <= MOST => Ok(n),
            _ => Err(ReferenceError::Damaged("a count is too large")),
        };
        let vocabulary = number(input)?;
        let mut windows = Vec::new();
        for _ in 0..count(input)? {
            let mut window = Vec::new();
            for _ in 0..count(input)? {
                window.push(number(input)? as i32);
            }
            windows.push(window);
        }
        let mut tops = Vec::new();
        for _ in 0..count(input)? {
            let (mut tokens, mut log_probs) = (Vec::new(), Vec::new());
            for _ in 0..count(input)? {
                tokens.push(number(input)?);
                log_probs.push(f32::from_bits(number(input)?));
            }
            tops.push(Top { tokens, log_probs });
        }
        let scored: usize = windows.iter().map(|w| scored_positions(w.len())).sum();
        if scored != tops.len() {
            return Err(ReferenceError::Damaged("its positions do not match its text"));
        }
        Ok(Self { vocabulary, windows, tops })
    }
}

/// How many positions of a window are scored: all that have enough before them and a token behind them.
#[must_use]
pub fn scored_positions(window: usize) -> usize {
    window.saturating_sub(1 + UNSCORED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The lumped sum must agree with the full one to this many nats on realistic logits.
    const LUMP_TOLERANCE: f64 = 2e-3;

    fn full_kl(p: &[f32], q: &[f32]) -> f64 {
        let (np, nq) = (log_sum_exp(p), log_sum_exp(q));
        p.iter()
            .zip(q)
            .map(|(&a, &b)| {
                let lp = f64::from(a) - np;
                lp.exp() * (lp - (f64::from(b) - nq))
            })
            .sum()
    }

    fn logits(n: usize, seed: u64, spread: f32) -> Vec<f32> {
        let mut x = seed;
        (0..n)
            .map(|i| {
                x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let u = (x >> 40) as f32 / (1u64 << 24) as f32;
                // A long tail, as language models have.
                -spread * ((i * 7919 % n) as f32 + 1.0).ln() + u
            })
            .collect()
    }

    #[test]
    fn the_lumped_divergence_is_close_to_the_full_one_and_not_above() {
        let p = logits(4000, 1, 2.0);
        let q: Vec<f32> = p.iter().zip(logits(4000, 9, 0.0)).map(|(a, b)| a + 0.5 * b).collect();
        let full = full_kl(&p, &q);
        let lumped = Top::of(&p, KEPT).compare(&q, 0).kl;
        assert!(full > 0.005);
        assert!(lumped <= full + 1e-6 && full - lumped < LUMP_TOLERANCE, "{lumped} {full}");
    }

    #[test]
    fn equal_models_do_not_diverge() {
        let p = logits(1000, 3, 1.0);
        let top = Top::of(&p, KEPT);
        let position = top.compare(&p, top.tokens[0] as i32);
        assert!(position.kl < 1e-6 && position.agrees);
        assert!((position.nll + f64::from(top.log_probs[0])).abs() < 1e-5);
    }

    #[test]
    fn a_broken_model_diverges_infinitely() {
        let top = Top::of(&logits(1000, 3, 1.0), KEPT);
        let position = top.compare(&vec![f32::NAN; 1000], 0);
        let d = summarize(&vec![position; 64]);
        assert_eq!(d.kl_mean.value, f64::INFINITY);
    }

    #[test]
    fn a_reference_survives_its_file_and_a_damaged_one_is_refused() {
        let window: Vec<i32> = (0..20).collect();
        let tops = (0..scored_positions(20)).map(|i| Top::of(&logits(50, i as u64, 1.0), 5)).collect();
        let reference = Reference { vocabulary: 50, windows: vec![window], tops };
        let mut bytes = Vec::new();
        reference.write(&mut bytes).unwrap();
        assert_eq!(Reference::read(&mut bytes.as_slice()).unwrap(), reference);
        assert!(Reference::read(&mut &bytes[..bytes.len() - 1]).is_err());
        assert!(Reference::read(&mut &b"GGUF0000"[..]).is_err());
    }

    proptest! {
        #[test]
        fn divergence_is_never_negative(a in prop::collection::vec(-20f32..20.0, 40), b in prop::collection::vec(-20f32..20.0, 40), k in 1usize..45) {
            let position = Top::of(&a, k).compare(&b, 3);
            prop_assert!(position.kl >= 0.0);
            prop_assert!(position.kl <= full_kl(&a, &b) + 1e-4);
        }

        #[test]
        fn arbitrary_bytes_are_no_reference(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut file = MAGIC.to_vec();
            file.extend(bytes);
            let _ = Reference::read(&mut file.as_slice());
        }
    }
}
