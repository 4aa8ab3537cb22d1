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
    },
    /// Each by a factor of its own (the tensor `rope_freqs.weight` of a GGUF file).
    Factors(Vec<f32>),
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
            RopeScaling::Yarn { factor, original, beta_fast, beta_slow, attention } => {
                // The pair that turns `rotations` times over the original context.
                let pair = |rotations: f64| {
                    f64::from(head_dim) * (original / (rotations * 2.0 * PI)).ln() / (2.0 * self.base.ln())
                };
                let first = pair(*beta_fast).floor().max(0.0);
                let last = pair(*beta_slow).ceil().min(f64::from(head_dim) - 1.0);
                let width = (last - first).max(1e-3);
                let stretch = |(i, f): (usize, &f64)| {
                    let ramp = ((i as f64 - first) / width).clamp(0.0, 1.0);
                    f * (1.0 - ramp) + f / factor * ramp
                };
                let temperature =
                    attention.unwrap_or(if *factor > 1.0 { 0.1 * factor.ln() + 1.0 } else { 1.0 });
                (plain.iter().enumerate().map(stretch).collect(), temperature)
            }
            RopeScaling::Factors(factors) => {
                let by = |i: usize| factors.get(i).map_or(1.0, |f| f64::from(*f));
                (plain.iter().enumerate().map(|(i, f)| f / by(i)).collect(), 1.0)
            }
        }
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
        })
        .frequencies(128);
        assert!((temperature - (0.1 * 4f64.ln() + 1.0)).abs() < 1e-12);
        let factors = rope(RopeScaling::Factors(vec![1.0, 2.0])).frequencies(4).0;
        assert_eq!(factors, [1.0, 0.005]);
    }
}
