//! Ctrl-C: once pauses, twice ends at once. Termination by the system and a terminal that is closed pause, too.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXCPU};

use crate::exit::Exit;

/// What pauses, and why, in words.
const PAUSING: [(i32, &str); 4] = [
    (SIGINT, "stopped by the user"),
    (SIGTERM, "stopped by SIGTERM"),
    (SIGHUP, "stopped, since its terminal was closed"),
    (SIGXCPU, "stopped at the limit of processor time (`ulimit -t`)"),
];

/// Whether the study was requested to stop.
#[derive(Clone, Debug)]
pub struct Interrupt {
    asked: Arc<AtomicBool>,
    /// Position in [`PAUSING`].
    by: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Listens from now on. A hang-up stays ignored where it was ignored before (`nohup`).
    ///
    /// # Errors
    /// The system refuses the handler.
    pub fn listen() -> io::Result<Self> {
        let interrupt = Self { asked: Arc::default(), by: Arc::default() };
        // A closed terminal signals twice, from the kernel and from the shell, and a spent limit every second: only these two end at once.
        let typed = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag down and raises it, the second finds it up and ends the process.
            signal_hook::flag::register_conditional_shutdown(
                signal,
                Exit::Interrupted as i32,
                Arc::clone(&typed),
            )?;
            signal_hook::flag::register(signal, Arc::clone(&typed))?;
        }
        for (position, (signal, _)) in PAUSING.into_iter().enumerate() {
            if signal == SIGHUP && is_ignored(signal) {
                continue;
            }
            signal_hook::flag::register_usize(signal, Arc::clone(&interrupt.by), position)?;
            signal_hook::flag::register(signal, Arc::clone(&interrupt.asked))?;
        }
        Ok(interrupt)
    }

    /// Whether a stop was requested.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// The reason, as text; the user's where there is none.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        PAUSING.get(self.by.load(Ordering::SeqCst)).map_or(PAUSING[0].1, |(_, reason)| reason)
    }
}

/// Whether this process was started with a signal ignored, as far as the system reports it.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignored_in(&status, signal)
}

/// Reads the mask of ignored signals in the text of a `status` file.
fn ignored_in(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| signal >= 1 && mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hang_up_that_nohup_ignores_is_seen() {
        assert!(ignored_in("Name:\tx\nSigIgn:\t0000000000001001\n", SIGHUP));
        assert!(!ignored_in("Name:\tx\nSigIgn:\t0000000000001000\n", SIGHUP));
        assert!(!ignored_in("", SIGHUP));
    }
}
