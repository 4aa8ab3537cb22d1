//! The clock that time limits are held against.

/// Time since a start. Every limit on a worker's time reads it here, so that what counts as elapsed is decided in one place: the time for
/// which this process ran, so that a study that was stopped does not end its workers when it goes on.
pub(super) type Stopwatch = crate::run_clock::RunClock;
