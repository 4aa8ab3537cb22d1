//! Time for which this process really ran. A process that is stopped (Ctrl-Z, SIGSTOP, a paused container) must not be blamed for the time
//! that passed meanwhile: limits are held against this clock, and what was timed across a stop is timed again.
//!
//! A heart beats ten times a second on a thread of its own, and every reading is a beat, too; where two beats lie far apart, nothing of
//! this process ran between them. A machine that sleeps stops the system's monotonic clock itself. The state is one for the whole
//! process, because being stopped is.

use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

/// How often the heart beats.
const BEAT: Duration = Duration::from_millis(100);
/// Beats that lie further apart than this tell of a stop; a busy machine delays them by less.
const STOP: Duration = Duration::from_secs(1);

/// Beats of one process.
#[derive(Clone, Copy, Debug)]
struct Heart {
    last: Option<Instant>,
    stopped: Duration,
}

impl Heart {
    const fn new() -> Self {
        Self { last: None, stopped: Duration::ZERO }
    }

    /// A beat at a time; returns for how long the process was stopped so far.
    fn beat(&mut self, now: Instant) -> Duration {
        let gap = self.last.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        if gap > STOP {
            self.stopped += gap - BEAT;
        }
        self.last = Some(now);
        self.stopped
    }
}

static HEART: Mutex<Heart> = Mutex::new(Heart::new());
static STARTED: Once = Once::new();

/// For how long this process has been stopped since it first asked.
#[must_use]
pub fn stopped() -> Duration {
    STARTED.call_once(|| {
        // Without the thread readings alone are beats: a caller that reads often loses nothing.
        let _ = std::thread::Builder::new().name("heart".to_owned()).spawn(|| {
            loop {
                std::thread::sleep(BEAT);
                beat();
            }
        });
    });
    beat()
}

fn beat() -> Duration {
    let mut heart = HEART.lock().unwrap_or_else(PoisonError::into_inner);
    // Read under the lock, so that beats are in order.
    heart.beat(Instant::now())
}

/// Time since a start, without the time for which this process was stopped.
#[derive(Clone, Copy, Debug)]
pub struct RunClock {
    started: Instant,
    stopped_before: Duration,
}

impl RunClock {
    /// Starts now.
    #[must_use]
    pub fn start() -> Self {
        let stopped_before = stopped();
        Self { started: Instant::now(), stopped_before }
    }

    /// For how long the process was stopped since the start.
    #[must_use]
    pub fn stopped(&self) -> Duration {
        stopped().saturating_sub(self.stopped_before)
    }

    /// For how long it ran since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        // The stops first: one that ends between the two readings must not count as running.
        let stopped = self.stopped();
        self.started.elapsed().saturating_sub(stopped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_beats_that_lie_far_apart_tell_of_a_stop() {
        let mut heart = Heart::new();
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        assert_eq!(heart.beat(at(0)), Duration::ZERO);
        assert_eq!(heart.beat(at(100)), Duration::ZERO);
        assert_eq!(heart.beat(at(900)), Duration::ZERO, "a busy machine");
        assert_eq!(heart.beat(at(12_900)), Duration::from_millis(11_900));
        assert_eq!(heart.beat(at(13_000)), Duration::from_millis(11_900));
        assert_eq!(heart.beat(at(16_000)), Duration::from_millis(14_800), "stops add up");
    }

    #[test]
    fn a_process_that_is_not_stopped_loses_no_time() {
        let clock = RunClock::start();
        std::thread::sleep(Duration::from_millis(20));
        assert!(clock.elapsed() + clock.stopped() >= Duration::from_millis(20));
    }
}
