//! Random numbers that are the same on every platform and in every version: ChaCha8, and our own few derivations of it.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};

/// A stream of random numbers that depends on a study's seed, a trial's number and a purpose only.
#[derive(Clone, Debug)]
pub struct Random(ChaCha8Rng);

impl Random {
    /// The stream of `(seed, number, purpose)`.
    #[must_use]
    pub fn new(seed: u64, number: u64, purpose: u64) -> Self {
        let mut key = [0u8; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&number.to_le_bytes());
        key[16..24].copy_from_slice(&purpose.to_le_bytes());
        Self(ChaCha8Rng::from_seed(key))
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A whole number in `0..n`, without bias (Lemire 2019, "Fast random integer generation in an interval"); 0 for `n = 0`.
    pub fn below(&mut self, n: usize) -> usize {
        let n = n as u64;
        if n == 0 {
            return 0;
        }
        let threshold = n.wrapping_neg() % n;
        loop {
            let wide = u128::from(self.bits()) * u128::from(n);
            if wide as u64 >= threshold {
                return (wide >> 64) as usize;
            }
        }
    }

    /// A real number in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A standard normal number (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let u = 1.0 - self.unit();
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Shuffles in place (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_portable_and_apart() {
        // Frozen: a change here changes what every stored study asks next. Computed apart from this code, by ChaCha with 8 rounds over
        // the key `seed, number, purpose, 0` (little-endian, 64 bits each), block counter from 0, nonce 0.
        let first = |seed, number, purpose| {
            let mut random = Random::new(seed, number, purpose);
            [(); 3].map(|()| random.bits())
        };
        assert_eq!(first(1, 2, 3), [0xcd28_0005_fbe3_7308, 0x111a_885b_ae91_c11a, 0x1e77_fbbf_2cb5_9570]);
        assert_eq!(first(2, 1, 3), [0x76ae_be0d_35b2_0783, 0x53eb_9a4d_f289_0138, 0xc734_d314_dfb5_9290]);
        assert_eq!(first(1, 2, 4), [0x3c4a_0695_e2f9_e69a, 0x773b_8c85_3354_fc4c, 0x92c7_3ca9_cda3_54c2]);
        let far = first(0xfedc_ba98_7654_3210, 7, 1000);
        assert_eq!(far, [0x1b1a_121b_43d2_23a3, 0x391c_6f1b_82c1_68dd, 0x3d6b_b92c_5a28_f8f1]);
    }

    #[test]
    fn what_is_derived_from_a_stream_is_frozen() {
        let mut random = Random::new(1, 2, 3);
        assert_eq!([(); 8].map(|()| random.below(10)), [8, 0, 1, 7, 0, 0, 9, 8]);
        assert_eq!([(); 2].map(|()| random.unit()), [0.6513705664687971, 0.3543342393908734]);
        let mut items = [0, 1, 2, 3, 4, 5, 6, 7];
        Random::new(1, 2, 3).shuffle(&mut items);
        assert_eq!(items, [2, 1, 4, 5, 3, 7, 0, 6]);
    }

    #[test]
    fn numbers_are_even_and_in_range() {
        let mut random = Random::new(7, 0, 0);
        let mut counts = [0u32; 3];
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..9000 {
            counts[random.below(3)] += 1;
            let z = random.normal();
            sum += z;
            squares += z * z;
            assert!((0.0..1.0).contains(&random.unit()));
        }
        assert!(counts.iter().all(|c| (2800..3200).contains(c)), "{counts:?}");
        assert!((sum / 9000.0).abs() < 0.05 && (squares / 9000.0 - 1.0).abs() < 0.06);
        assert_eq!(random.below(0), 0);
        assert_eq!(random.below(1), 0);
    }
}
