//! The clock that time limits are held against.

use std::time::{Duration, Instant};

/// Time since a start. Every limit on a worker's time reads it here, so that what counts as elapsed is decided in one place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopwatch {
    started: Instant,
}

impl Stopwatch {
    /// Starts now.
    pub(super) fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// Time that counts against a limit.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}
