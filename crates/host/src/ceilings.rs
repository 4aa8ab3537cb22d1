//! Measured ceilings: how fast this process reads memory, and multiplies and adds.
//!
//! Every figure is the best of many short rounds. In a round all threads are started together and work until the same deadline; the
//! rate is their work over the round's length. Other programs can only slow a round down, so the best one is nearest to the
//! machine's own ceiling, and short rounds find gaps between other programs' work.

use std::hint::black_box;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::info::Ceilings;
use super::probe::HostError;
use autotune_core::os::kernels::{MultiplyAdd, Read};

/// How much work goes into the ceilings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Length of a round.
    pub round: Duration,
    /// Rounds for each figure; the best counts.
    pub rounds: u32,
    /// Bytes that are read, over all threads.
    pub buffer_bytes: u64,
}

impl Effort {
    /// Sizes the buffer: eight times the caches, from 256 MiB to 1 GiB, but no more than a quarter of the memory to be had now.
    #[must_use]
    pub fn sized(cache_bytes: Option<u64>, usable_now_bytes: u64) -> Self {
        let wanted = cache_bytes.unwrap_or(0).saturating_mul(8).clamp(256 << 20, 1 << 30);
        let buffer_bytes = wanted.min(usable_now_bytes / 4).max(1 << 20);
        Self { round: Duration::from_millis(12), rounds: 20, buffer_bytes }
    }
}

impl Effort {
    /// A quick look: a tenth of the rounds over a buffer that is filled in milliseconds. Caches may hold a part of it.
    #[must_use]
    pub fn brief(usable_now_bytes: u64) -> Self {
        let buffer_bytes = (64u64 << 20).min(usable_now_bytes / 4).max(1 << 20);
        Self { round: Duration::from_millis(8), rounds: 3, buffer_bytes }
    }
}

/// Words that a thread reads between two looks at the clock: 1 MiB.
const BLOCK_WORDS: usize = 1 << 17;
/// Multiply-add steps between two looks at the clock: well under a millisecond.
const BLOCK_STEPS: u64 = 1 << 14;

/// Measures with `threads` threads and with one.
///
/// # Errors
/// Threads or memory that cannot be had.
pub fn measure_ceilings(threads: u32, effort: Effort) -> Result<Ceilings, HostError> {
    let threads = threads.max(1);
    let read_one = read_rate(1, effort)?;
    let read_all = if threads == 1 { read_one } else { read_rate(threads, effort)? };
    let (add_one, _) = multiply_add_rate(1, effort)?;
    let (add_all, isa) = multiply_add_rate(threads, effort)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Ceilings {
        threads,
        // More threads can always idle: noise must not make them slower than one.
        read_bytes_per_s: read_all.max(read_one),
        read_bytes_per_s_one_thread: read_one,
        multiply_add_flop_per_s: add_all.max(add_one),
        multiply_add_flop_per_s_one_thread: add_one,
        multiply_add_isa: isa.to_owned(),
        buffer_bytes: effort.buffer_bytes,
        measured_unix_s: now.as_secs(),
        load_before: None,
        from_cache: false,
    })
}

/// Bytes per second.
fn read_rate(threads: u32, effort: Effort) -> Result<f64, HostError> {
    let words = usize::try_from(effort.buffer_bytes / 8 / u64::from(threads)).unwrap_or(usize::MAX).max(1024);
    let kernel = Read::best();
    // Each thread fills its own part, so that the pages lie near it, and goes round in it, so that nothing is read twice soon.
    let prepare = || {
        let mut buffer = Vec::new();
        let refused = |_| HostError::Memory { bytes: words as u64 * 8 };
        buffer.try_reserve_exact(words).map_err(refused)?;
        buffer.resize(words, 0x5555_5555_5555_5555u64);
        Ok((buffer, 0usize))
    };
    let work = |(buffer, next): &mut (Vec<u64>, usize)| {
        let block = &buffer[*next..buffer.len().min(*next + BLOCK_WORDS)];
        *next = if *next + block.len() == buffer.len() { 0 } else { *next + block.len() };
        black_box(kernel.run(black_box(block)));
        block.len() as u64 * 8
    };
    best_rate(threads, effort, &prepare, &work)
}

/// Floating-point operations per second of the best loop, and its instruction set.
fn multiply_add_rate(threads: u32, effort: Effort) -> Result<(f64, &'static str), HostError> {
    let mut best = (0.0, "none");
    let mut kernels = MultiplyAdd::all();
    // The portable loop is for CPUs without a better one.
    if kernels.len() > 1 {
        kernels.remove(0);
    }
    for kernel in kernels {
        let work = |(): &mut ()| {
            black_box(kernel.run(black_box(BLOCK_STEPS)));
            BLOCK_STEPS * kernel.flop_per_step()
        };
        let rate = best_rate(threads, effort, &|| Ok(()), &work)?;
        if rate > best.0 {
            best = (rate, kernel.isa());
        }
    }
    Ok(best)
}

/// Work per second of the best round. `work` does a block, a small part of a round, and says how much it was.
fn best_rate<S>(
    threads: u32,
    effort: Effort,
    prepare: &(dyn Fn() -> Result<S, HostError> + Sync),
    work: &(dyn Fn(&mut S) -> u64 + Sync),
) -> Result<f64, HostError> {
    thread::scope(|scope| {
        let (report, reports) = mpsc::channel::<Result<f64, HostError>>();
        let mut starts = Vec::new();
        for _ in 0..threads {
            let (start, deadlines) = mpsc::channel::<Instant>();
            let report = report.clone();
            let body = move || {
                let mut state = match prepare() {
                    Ok(state) => state,
                    Err(error) => {
                        let _ = report.send(Err(error));
                        return;
                    }
                };
                // Nobody listens any more only when another thread failed: then no deadline comes either.
                let _ = report.send(Ok(0.0));
                for deadline in deadlines {
                    let _ = report.send(Ok(work_until(deadline, || work(&mut state))));
                }
            };
            let builder = thread::Builder::new().name("ceiling".to_owned());
            // On an error the starts are dropped, which ends the threads that already wait.
            builder.spawn_scoped(scope, body).map_err(|source| HostError::Threads { threads, source })?;
            starts.push(start);
        }
        drop(report);
        gather(&reports, threads)?;
        let mut best = 0.0f64;
        for _ in 0..effort.rounds.max(1) {
            let deadline = Instant::now() + effort.round;
            for start in &starts {
                let _ = start.send(deadline);
            }
            best = best.max(gather(&reports, threads)? / effort.round.as_secs_f64());
        }
        Ok(best)
    })
}

/// Works block after block, and says how much was done by the deadline. Of the block that crosses it, the part that lies before it
/// counts, as if the block's work were spread evenly: a thread that is held up there adds little, and none is lost.
fn work_until(deadline: Instant, mut work: impl FnMut() -> u64) -> f64 {
    let mut done = 0.0;
    let mut begin = Instant::now();
    while begin < deadline {
        let block = work() as f64;
        let end = Instant::now();
        if end <= deadline {
            done += block;
        } else {
            let inside =
                deadline.duration_since(begin).as_secs_f64() / end.duration_since(begin).as_secs_f64();
            done += block * inside;
        }
        begin = end;
    }
    done
}

/// The sum over all threads.
fn gather(reports: &mpsc::Receiver<Result<f64, HostError>>, threads: u32) -> Result<f64, HostError> {
    reports.iter().take(threads as usize).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BRIEF: Effort = Effort { round: Duration::from_millis(2), rounds: 2, buffer_bytes: 3 << 20 };

    #[test]
    fn ceilings_are_positive() {
        let found = measure_ceilings(3, BRIEF).unwrap();
        assert_eq!((found.threads, found.buffer_bytes), (3, 3 << 20));
        assert!(found.read_bytes_per_s_one_thread > 0.0 && found.multiply_add_flop_per_s_one_thread > 0.0);
        assert!(found.read_bytes_per_s > 0.0 && found.multiply_add_flop_per_s > 0.0);
        assert!(MultiplyAdd::all().iter().any(|kernel| kernel.isa() == found.multiply_add_isa));
    }

    #[test]
    fn a_thread_that_fails_to_prepare_ends_the_measurement() {
        let count = std::sync::atomic::AtomicU32::new(0);
        let prepare = || match count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            1 => Err(HostError::Memory { bytes: 7 }),
            _ => Ok(()),
        };
        let refused = best_rate(4, BRIEF, &prepare, &|(): &mut ()| 1).unwrap_err();
        assert!(matches!(refused, HostError::Memory { bytes: 7 }));
    }

    #[test]
    fn only_work_before_the_deadline_counts() {
        let past = Instant::now();
        assert_eq!(work_until(past, || 1), 0.0);
        // One block that takes longer than there is time: a part of it counts.
        let slow = || {
            thread::sleep(Duration::from_millis(5));
            100
        };
        let part = work_until(Instant::now() + Duration::from_micros(500), slow);
        assert!(part > 0.0 && part < 100.0, "{part}");
    }

    #[test]
    fn buffers_exceed_caches_and_spare_memory() {
        let size = |cache, now| Effort::sized(cache, now).buffer_bytes;
        assert_eq!(size(Some(32 << 20), 64 << 30), 256 << 20);
        assert_eq!(size(Some(64 << 20), 64 << 30), 512 << 20);
        assert_eq!(size(Some(1 << 30), 64 << 30), 1 << 30);
        assert_eq!(size(None, 400 << 20), 100 << 20);
        assert_eq!(size(None, 0), 1 << 20);
    }
}
