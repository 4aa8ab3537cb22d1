//! Rotary embedding: the frequencies, with the ways of stretching them to longer contexts that are in use.

use std::f64::consts::PI;

use super::RopePairing;

/// How the frequencies are stretched.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All by the same factor (Chen et al. 2023, arXiv:2306.15595).
    Linear {
        /// By which positions are divided.
        factor: f64,
    },
    /// The low ones only, as Llama 3.1 does.
    Llama3 {
        /// By which low frequencies are divided.
        factor: f64,
        /// Wavelengths over the original context divided by this are low.
        low: f64,
        /// Wavelengths under the original context divided by this are high.
        high: f64,
        /// The context before it was stretched, in tokens.
        original: f64,
    },
    /// By parts, with a temperature (Peng et al. 2023, arXiv:2309.00071).
    Yarn {
        /// By which low frequencies are divided.
        factor: f64,
        /// The context before it was stretched, in tokens.
        original: f64,
        /// Rotations over the original context above which a frequency stays.
        beta_fast: f64,
        /// Rotations below which it is divided in full.
        beta_slow: f64,
        /// The factor of cosine and sine; none: 0.1 ln(factor) + 1.
        attention: Option<f64>,
        /// Whether the bounds of the ramp are rounded to whole pairs, outwards.
        truncate: bool,
    },
    /// Each by a factor of its own, one list up to the original context and one beyond it (Ding et al. 2024, arXiv:2402.13753).
    LongRope {
        /// The factors for contexts up to `original`.
        short: Vec<f32>,
        /// The factors for longer contexts.
        long: Vec<f32>,
        /// The context before it was stretched, in tokens.
        original: f64,
        /// The factor of cosine and sine.
        attention: f64,
    },
    /// Each by a factor of its own (the tensor `rope_freqs.weight` of a GGUF file).
    Factors {
        /// By which each frequency is divided.
        factors: Vec<f32>,
        /// The factor of cosine and sine.
        attention: f64,
    },
}

/// The rotary embedding of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Base of the frequencies.
    pub base: f64,
    /// Elements that turn together, in the layout of the checkpoint's own Q and K.
    pub pairing: RopePairing,
    /// How far and how they are stretched.
    pub scaling: RopeScaling,
}

impl RopeScaling {
    /// Whether this is YaRN with the ramp that llama.cpp's `llama` and `qwen2` take as given (they read no other).
    #[must_use]
    pub fn is_plain_yarn(&self) -> bool {
        matches!(self, Self::Yarn { beta_fast, beta_slow, truncate: true, .. } if *beta_fast == 32.0 && *beta_slow == 1.0)
    }
}

/// YaRN's factor of cosine and sine where the model states none (Peng et al. 2023, equation 22).
#[must_use]
pub fn yarn_temperature(factor: f64) -> f64 {
    if factor > 1.0 { 0.1 * factor.ln() + 1.0 } else { 1.0 }
}

impl Rope {
    /// The angle per position of each pair of a head of `head_dim` elements, in radians, and the factor of cosine and sine.
    #[must_use]
    pub fn frequencies(&self, head_dim: u32) -> (Vec<f64>, f64) {
        let n = head_dim / 2;
        let plain: Vec<f64> =
            (0..n).map(|i| self.base.powf(-2.0 * f64::from(i) / f64::from(head_dim))).collect();
        match &self.scaling {
            RopeScaling::None => (plain, 1.0),
            RopeScaling::Linear { factor } => (plain.iter().map(|f| f / factor).collect(), 1.0),
            RopeScaling::Llama3 { factor, low, high, original } => {
                let stretch = |f: f64| {
                    let wavelength = 2.0 * PI / f;
                    if wavelength < original / high {
                        f
                    } else if wavelength > original / low {
                        f / factor
                    } else {
                        let smooth = (original / wavelength - low) / (high - low);
                        (1.0 - smooth) * f / factor + smooth * f
                    }
                };
                (plain.iter().map(|f| stretch(*f)).collect(), 1.0)
            }
            RopeScaling::Yarn { factor, original, beta_fast, beta_slow, attention, truncate } => {
                // The pair that turns `rotations` times over the original context.
                let pair = |rotations: f64| {
                    f64::from(head_dim) * (original / (rotations * 2.0 * PI)).ln() / (2.0 * self.base.ln())
                };
                let (mut first, mut last) = (pair(*beta_fast), pair(*beta_slow));
                if *truncate {
                    (first, last) = (first.floor(), last.ceil());
                }
                let (first, last) = (first.max(0.0), last.min(f64::from(head_dim) - 1.0));
                let width = (last - first).max(1e-3);
                let stretch = |(i, f): (usize, &f64)| {
                    let ramp = ((i as f64 - first) / width).clamp(0.0, 1.0);
                    f * (1.0 - ramp) + f / factor * ramp
                };
                (
                    plain.iter().enumerate().map(stretch).collect(),
                    attention.unwrap_or(yarn_temperature(*factor)),
                )
            }
            RopeScaling::Factors { factors, attention }
            | RopeScaling::LongRope { short: factors, attention, .. } => {
                let by = |i: usize| factors.get(i).map_or(1.0, |f| f64::from(*f));
                (plain.iter().enumerate().map(|(i, f)| f / by(i)).collect(), *attention)
            }
        }
    }

    /// The embedding as it is for a context of this many tokens: LongRoPE has one set of factors up to the original context and another
    /// beyond it.
    #[must_use]
    pub fn for_context(self, tokens: u64) -> Self {
        match self.scaling {
            RopeScaling::LongRope { short, long, original, attention } => {
                let factors = if tokens as f64 > original { long } else { short };
                Self { scaling: RopeScaling::Factors { factors, attention }, ..self }
            }
            _ => self,
        }
    }

    /// By how much each frequency of a head is divided, over the embedding without any scaling.
    #[must_use]
    pub fn divisors(&self, head_dim: u32) -> Vec<f32> {
        let plain = Rope { scaling: RopeScaling::None, ..self.clone() }.frequencies(head_dim).0;
        plain
            .iter()
            .zip(self.frequencies(head_dim).0)
            .map(|(plain, scaled)| (plain / scaled) as f32)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(scaling: RopeScaling) -> Rope {
        Rope { base: 10_000.0, pairing: RopePairing::Halves, scaling }
    }

    #[test]
    fn high_frequencies_stay_and_low_ones_are_divided() {
        let (plain, one) = rope(RopeScaling::None).frequencies(64);
        assert_eq!((plain.len(), plain[0], one), (32, 1.0, 1.0));
        let linear = rope(RopeScaling::Linear { factor: 4.0 }).frequencies(64).0;
        assert!(linear.iter().zip(&plain).all(|(a, b)| (a * 4.0 - b).abs() < 1e-12));
        let llama3 = RopeScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 8192.0 };
        let yarn = RopeScaling::Yarn {
            factor: 8.0,
            original: 8192.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            attention: None,
            truncate: true,
        };
        for scaling in [llama3, yarn] {
            let scaled = rope(scaling.clone()).frequencies(64).0;
            assert_eq!(scaled[0], plain[0], "{scaling:?}");
            assert!((scaled[31] * 8.0 - plain[31]).abs() < 1e-9, "{scaling:?}: {scaled:?}");
            let ratio: Vec<f64> = scaled.iter().zip(&plain).map(|(a, b)| b / a).collect();
            assert!(ratio.windows(2).all(|w| w[0] <= w[1] + 1e-9), "{ratio:?}");
        }
        let (_, temperature) = rope(RopeScaling::Yarn {
            factor: 4.0,
            original: 4096.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            attention: None,
            truncate: true,
        })
        .frequencies(128);
        assert!((temperature - (0.1 * 4f64.ln() + 1.0)).abs() < 1e-12);
        let scaled = rope(RopeScaling::Factors { factors: vec![1.0, 2.0], attention: 1.5 });
        assert_eq!(scaled.frequencies(4), (vec![1.0, 0.005], 1.5));
        assert_eq!(scaled.divisors(4), [1.0, 2.0]);
    }

    #[test]
    fn long_rope_takes_its_factors_by_the_context() {
        let scaling = RopeScaling::LongRope {
            short: vec![1.0, 2.0],
            long: vec![1.0, 8.0],
            original: 64.0,
            attention: 1.25,
        };
        let at = |tokens| rope(scaling.clone()).for_context(tokens).frequencies(4);
        assert_eq!(at(64), (vec![1.0, 0.005], 1.25));
        assert_eq!(at(65), (vec![1.0, 0.00125], 1.25));
    }
}
