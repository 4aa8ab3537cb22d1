//! A short piece of work that is always the same: how fast the machine is at this moment. Run between measurements, it tells drift.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use autotune_core::os::kernels::{MultiplyAdd, Read};

/// How fast the machine did the work, in rounds per second over all threads.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pace {
    /// Median over the pieces.
    pub rounds_per_s: f64,
}

impl Pace {
    /// This pace as a share of another.
    #[must_use]
    pub fn of(&self, other: &Pace) -> f64 {
        self.rounds_per_s / other.rounds_per_s
    }
}

/// Pieces of each thread whose median is taken: one that another program interrupts does not count, a machine that is slow throughout does.
const PIECES: usize = 100;
/// Pieces before them, which wake the cores up.
const WARM_UP: usize = 25;
/// Multiply-adds of one round: with the reading about a third of a millisecond.
const STEPS: u64 = 1 << 16;
/// Words that one round reads: 2 MiB, beyond the caches of a core.
const WORDS: usize = 1 << 18;

/// Does the work on so many threads at once; about 40 milliseconds.
#[must_use]
pub fn pace(threads: u32) -> Pace {
    let (read, add) = (Read::best(), MultiplyAdd::all().pop());
    let words = vec![0x5555_5555_5555_5555u64; WORDS];
    let piece = || {
        let begun = Instant::now();
        black_box(read.run(black_box(&words)));
        if let Some(add) = add {
            black_box(add.run(black_box(STEPS)));
        }
        begun.elapsed().as_secs_f64()
    };
    // Every thread times its own pieces: starting threads takes as long as a piece, and not always the same.
    let together = Barrier::new(threads.max(1) as usize);
    let of_thread = || {
        together.wait();
        (0..WARM_UP + PIECES).map(|_| piece()).skip(WARM_UP).collect::<Vec<f64>>()
    };
    let mut times: Vec<f64> = thread::scope(|scope| {
        let started: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(of_thread)).collect();
        started.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
    });
    times.sort_by(f64::total_cmp);
    let median = times.get(times.len() / 2).copied().unwrap_or(f64::INFINITY);
    Pace { rounds_per_s: f64::from(threads.max(1)) / median.max(1e-9) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_a_positive_number() {
        let pace = pace(2);
        assert!(pace.rounds_per_s.is_finite() && pace.rounds_per_s > 0.0);
        assert_eq!(pace.of(&pace), 1.0);
    }
}
