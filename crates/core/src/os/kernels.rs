//! The two loops that measure a CPU's ceilings: reading memory, and multiplying and adding.
//!
//! They stand here because calling a function that is compiled for an instruction set which the build does not assume is
//! `unsafe`, which few crates may have. `autotune-host` runs the clock.
//!
//! The accumulators start at different values: equal ones would be merged into one by the compiler.
#![allow(unsafe_code)]

/// A loop of independent f32 multiply-adds that this CPU can run.
#[derive(Clone, Copy, Debug)]
pub struct MultiplyAdd {
    isa: &'static str,
    flop_per_step: u64,
    run: unsafe fn(u64) -> f32,
}

impl MultiplyAdd {
    /// The loops of this CPU, the widest last; never empty.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut all = vec![Self {
            isa: "portable",
            flop_per_step: portable::FLOP_PER_STEP,
            run: portable::multiply_add,
        }];
        #[cfg(target_arch = "x86_64")]
        {
            if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
                all.push(Self {
                    isa: "avx2+fma",
                    flop_per_step: x86::AVX2_FLOP_PER_STEP,
                    run: x86::multiply_add_avx2,
                });
            }
            if std::is_x86_feature_detected!("avx512f") {
                all.push(Self {
                    isa: "avx512f",
                    flop_per_step: x86::AVX512_FLOP_PER_STEP,
                    run: x86::multiply_add_avx512,
                });
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            all.push(Self { isa: "neon", flop_per_step: arm::FLOP_PER_STEP, run: arm::multiply_add });
        }
        all
    }

    /// The instruction set that it is compiled for.
    #[must_use]
    pub fn isa(&self) -> &'static str {
        self.isa
    }

    /// Floating-point operations of one step: two for each multiply-add.
    #[must_use]
    pub fn flop_per_step(&self) -> u64 {
        self.flop_per_step
    }

    /// Runs so many steps. The result is a plain number that depends on all of them; use it, or the compiler drops the loop.
    #[must_use]
    pub fn run(&self, steps: u64) -> f32 {
        // SAFETY: `all` is the only place that makes this type, and lists a function only after this CPU was found to have the
        // instruction set that it is compiled for; the functions have no other condition.
        unsafe { (self.run)(steps) }
    }
}

/// A loop that reads memory, compiled for what this CPU has.
#[derive(Clone, Copy, Debug)]
pub struct Read {
    run: unsafe fn(&[u64]) -> u64,
}

impl Read {
    /// The widest loop of this CPU.
    #[must_use]
    pub fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx2") {
            return Self { run: x86::sum_avx2 };
        }
        Self { run: portable::sum }
    }

    /// The wrapping sum of the words: every byte is read. Use the result, or the compiler drops the loop.
    #[must_use]
    pub fn run(&self, words: &[u64]) -> u64 {
        // SAFETY: `best` is the only place that makes this type, and takes a function only after this CPU was found to have the
        // instruction set that it is compiled for; the functions have no other condition.
        unsafe { (self.run)(words) }
    }
}

mod portable {
    /// Accumulators: enough to hide the latency of an addition behind a multiplication on 16-byte registers.
    const LANES: usize = 32;
    pub(super) const FLOP_PER_STEP: u64 = 2 * LANES as u64;

    pub(super) fn multiply_add(steps: u64) -> f32 {
        let mut sums: [f32; LANES] = std::array::from_fn(|i| i as f32);
        let factor = std::hint::black_box(0.5f32);
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = *sum * factor + factor;
            }
        }
        sums.iter().sum()
    }

    #[inline(always)]
    pub(super) fn sum(words: &[u64]) -> u64 {
        words.iter().fold(0, |sum, word| sum.wrapping_add(*word))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{_mm_cvtss_f32, _mm256_castps256_ps128, _mm512_castps512_ps256, _mm512_set1_ps};
    use std::arch::x86_64::{_mm256_add_ps, _mm256_fmadd_ps, _mm256_set1_ps, _mm512_add_ps, _mm512_fmadd_ps};

    /// Accumulators: two units of four to five cycles each want ten; twelve leave room within sixteen registers.
    const SUMS: usize = 12;
    pub(super) const AVX2_FLOP_PER_STEP: u64 = 2 * 8 * SUMS as u64;
    pub(super) const AVX512_FLOP_PER_STEP: u64 = 2 * 16 * SUMS as u64;

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn multiply_add_avx2(steps: u64) -> f32 {
        let factor = _mm256_set1_ps(std::hint::black_box(0.5));
        let mut sums: [_; SUMS] = std::array::from_fn(|i| _mm256_set1_ps(i as f32));
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(*sum, factor, factor);
            }
        }
        let total = sums.iter().fold(_mm256_set1_ps(0.0), |total, sum| _mm256_add_ps(total, *sum));
        _mm_cvtss_f32(_mm256_castps256_ps128(total))
    }

    #[target_feature(enable = "avx512f")]
    pub(super) fn multiply_add_avx512(steps: u64) -> f32 {
        let factor = _mm512_set1_ps(std::hint::black_box(0.5));
        let mut sums: [_; SUMS] = std::array::from_fn(|i| _mm512_set1_ps(i as f32));
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(*sum, factor, factor);
            }
        }
        let total = sums.iter().fold(_mm512_set1_ps(0.0), |total, sum| _mm512_add_ps(total, *sum));
        _mm_cvtss_f32(_mm256_castps256_ps128(_mm512_castps512_ps256(total)))
    }

    #[target_feature(enable = "avx2")]
    pub(super) fn sum_avx2(words: &[u64]) -> u64 {
        super::portable::sum(words)
    }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::{vaddq_f32, vaddvq_f32, vdupq_n_f32, vfmaq_f32};

    /// Accumulators: four units of four cycles each want sixteen, of 32 registers.
    const SUMS: usize = 16;
    pub(super) const FLOP_PER_STEP: u64 = 2 * 4 * SUMS as u64;

    #[target_feature(enable = "neon")]
    pub(super) fn multiply_add(steps: u64) -> f32 {
        let factor = vdupq_n_f32(std::hint::black_box(0.5));
        let mut sums: [_; SUMS] = std::array::from_fn(|i| vdupq_n_f32(i as f32));
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = vfmaq_f32(factor, *sum, factor);
            }
        }
        vaddvq_f32(sums.iter().fold(vdupq_n_f32(0.0), |total, sum| vaddq_f32(total, *sum)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_multiply_add_loop_computes_the_same_series() {
        for kernel in MultiplyAdd::all() {
            // Every accumulator goes x -> x / 2 + 1 / 2, so that the sum closes half of its way to the fixed point in each step.
            let (none, one, two) = (kernel.run(0), kernel.run(1), kernel.run(2));
            assert!(none > one && one > two, "{}: {none} {one} {two}", kernel.isa());
            assert!(((none - one) / (one - two) - 2.0).abs() < 1e-5, "{}: {none} {one} {two}", kernel.isa());
            assert_eq!(kernel.run(100), kernel.run(101), "{}", kernel.isa());
            assert!(kernel.flop_per_step() >= 64);
        }
    }

    #[test]
    fn reading_sums_every_word_at_any_length() {
        for length in [0usize, 1, 3, 31, 64, 1000] {
            let words: Vec<u64> = (0..length as u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
            let sum = words.iter().copied().fold(0, u64::wrapping_add);
            assert_eq!(Read::best().run(&words), sum);
        }
    }
}
