//! Drawing tokens at random: temperature, then the nucleus (Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration").

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::Token;
use autotune_core::logits::argmax;

/// How continuations are drawn besides the greedy one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Draws {
    /// Continuations to draw.
    pub samples: u32,
    /// What logits are divided by; over 0.
    pub temperature: f64,
    /// Share of the probability that the nucleus holds, over 0 to 1; 1: every token may be drawn.
    pub top_p: f64,
    /// With the prompt's identifier and the sample's number it decides every draw.
    pub seed: u64,
}

/// The source of chance of one continuation: the same whatever else is generated, and in whatever order.
#[derive(Clone, Debug)]
pub struct Chance {
    random: ChaCha8Rng,
    temperature: f64,
    top_p: f64,
}

impl Chance {
    /// For sample `sample` of the prompt named `id`.
    #[must_use]
    pub fn new(draws: &Draws, id: &str, sample: u32) -> Self {
        // FNV-1a: short, and the same on every machine.
        let fnv = |h: u64, byte: u8| (h ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        let start = 0xcbf2_9ce4_8422_2325;
        let named = draws.seed.to_le_bytes().into_iter().chain(sample.to_le_bytes()).chain(id.bytes());
        let random = ChaCha8Rng::seed_from_u64(named.fold(start, fnv));
        Self { random, temperature: draws.temperature, top_p: draws.top_p }
    }

    /// Draws a token from logits; the likeliest where they are not numbers.
    pub fn draw(&mut self, logits: &[f32]) -> Token {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let weight = |l: f32| (f64::from(l - max) / self.temperature).exp();
        let total: f64 = logits.iter().map(|&l| weight(l)).sum();
        if !total.is_finite() || total <= 0.0 {
            return argmax(logits);
        }
        // Tokens below this share have less than 1 - top_p together, so none of them is in the nucleus: only the others are sorted.
        let least = if self.top_p < 1.0 { (1.0 - self.top_p) / logits.len() as f64 * total } else { 0.0 };
        let mut nucleus: Vec<(Token, f64)> = logits
            .iter()
            .enumerate()
            .map(|(token, &l)| (token as Token, weight(l)))
            .filter(|(_, w)| *w >= least)
            .collect();
        if self.top_p < 1.0 {
            nucleus.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            let mut held = 0.0;
            let inside = nucleus.iter().take_while(|(_, w)| {
                let open = held < self.top_p * total;
                held += w;
                open
            });
            let kept = inside.count();
            nucleus.truncate(kept.max(1));
        }
        let held: f64 = nucleus.iter().map(|(_, w)| w).sum();
        let mut left = self.random.random::<f64>() * held;
        for (token, weight) in &nucleus {
            left -= weight;
            if left < 0.0 {
                return *token;
            }
        }
        nucleus.last().map_or_else(|| argmax(logits), |(token, _)| *token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three standard errors of a share near one half over the draws made.
    const DRAWS: usize = 20_000;
    const TOLERANCE: f64 = 3.0 * 0.5 / 141.0;

    fn shares(temperature: f64, top_p: f64, logits: &[f32]) -> Vec<f64> {
        let draws = Draws { samples: 1, temperature, top_p, seed: 7 };
        let mut chance = Chance::new(&draws, "t", 1);
        let mut counts = vec![0.0; logits.len()];
        for _ in 0..DRAWS {
            counts[chance.draw(logits) as usize] += 1.0 / DRAWS as f64;
        }
        counts
    }

    #[test]
    fn tokens_come_with_their_probabilities() {
        let logits = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
        for (share, p) in shares(1.0, 1.0, &logits).iter().zip([0.5, 0.3, 0.2]) {
            assert!((share - p).abs() < TOLERANCE, "{share} {p}");
        }
        // At temperature 1/2 probabilities are squared.
        for (share, p) in shares(0.5, 1.0, &logits).iter().zip([25.0, 9.0, 4.0]) {
            assert!((share - p / 38.0).abs() < TOLERANCE, "{share} {p}");
        }
    }

    #[test]
    fn the_nucleus_is_the_fewest_tokens_that_reach_top_p() {
        let logits = [0.2f32.ln(), 0.5f32.ln(), 0.25f32.ln(), 0.05f32.ln()];
        let drawn = shares(1.0, 0.7, &logits);
        assert_eq!((drawn[0], drawn[3]), (0.0, 0.0), "{drawn:?}");
        assert!((drawn[1] - 0.5 / 0.75).abs() < TOLERANCE, "{drawn:?}");
        let drawn = shares(1.0, 0.01, &logits);
        assert_eq!((drawn[0], drawn[2], drawn[3]), (0.0, 0.0, 0.0), "{drawn:?}");
    }

    #[test]
    fn chance_depends_on_seed_task_and_sample_alone() {
        let logits = vec![0.0f32; 1000];
        let first = |seed, id: &str, sample| {
            let draws = Draws { samples: 9, temperature: 0.8, top_p: 0.95, seed };
            Chance::new(&draws, id, sample).draw(&logits)
        };
        assert_eq!(first(1, "a", 1), first(1, "a", 1));
        let others = [first(1, "a", 1), first(2, "a", 1), first(1, "b", 1), first(1, "a", 2)];
        assert!(others.iter().any(|t| *t != others[0]), "{others:?}");
    }

    #[test]
    fn a_broken_model_still_gives_a_token() {
        let draws = Draws { samples: 1, temperature: 0.8, top_p: 0.95, seed: 1 };
        let token = Chance::new(&draws, "t", 1).draw(&[f32::NAN; 5]);
        assert!((0..5).contains(&token));
    }
}
