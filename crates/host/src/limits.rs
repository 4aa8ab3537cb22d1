//! Limits of this process (`ulimit`): raised where the system allows it, and named where they are too low to work with.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

use autotune_core::units::Bytes;

/// Open files that are asked for at the start.
const WANTED_FILES: u64 = 4096;
/// Open files of this process beside the judges': the database, pipes of a worker, and room above the numbers that a confined child uses.
const BASE_FILES: u64 = 128;
/// Open files of each judge that runs beside others: sockets, pipes and a process handle of its interpreter.
const FILES_A_JUDGE: u64 = 12;
/// Threads of this process beside its judges and the engine's: readers of a worker, the measuring threads.
const BASE_THREADS: u32 = 8;

/// A limit that leaves too little to work with.
#[derive(Debug, thiserror::Error)]
pub enum LimitError {
    /// Open files.
    #[error(
        "this process may have {found} files open at once (`ulimit -n`), but needs {needed} to run workers and judge code; raise the limit, \
         for example by `ulimit -n 1024`"
    )]
    OpenFiles {
        /// The limit.
        found: u64,
        /// What is needed.
        needed: u64,
    },
    /// Threads.
    #[error(
        "this process cannot have {needed} threads at once: {source}; raise the number of processes (`ulimit -u`, or the pids limit of the \
         container) or the address space (`ulimit -v`)"
    )]
    Threads {
        /// What is needed.
        needed: u32,
        /// Why there are no more.
        source: io::Error,
    },
}

/// Raises the number of open files to what the system allows, and has a write beyond the limit of a file's size fail as an error, where
/// the signal would end the process. Nothing that fails here matters by itself: [`check`] tells what is too low.
pub fn prepare() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < WANTED_FILES.min(hard)
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, WANTED_FILES.min(hard), hard);
    }
    // A handler of any kind will do; it does not outlive `exec`, so that judged programs are not affected.
    let _ = signal_hook::flag::register(libc::SIGXFSZ, Arc::new(AtomicBool::new(false)));
}

/// Whether this process may have the files and threads that work with so many judges at once takes.
///
/// # Errors
/// It may not.
pub fn check(jobs: u32) -> Result<(), LimitError> {
    let needed = BASE_FILES + FILES_A_JUDGE * u64::from(jobs);
    if let Ok((found, _)) = getrlimit(Resource::RLIMIT_NOFILE)
        && found < needed
    {
        return Err(LimitError::OpenFiles { found, needed });
    }
    start_threads(BASE_THREADS.saturating_add(jobs))
}

/// Starts so many threads at once, which end at once: a library that starts one would abort where the system refuses it.
fn start_threads(needed: u32) -> Result<(), LimitError> {
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let stopped = std::sync::Mutex::new(stopped);
    thread::scope(|scope| {
        let mut refused = None;
        for _ in 0..needed {
            let wait = || {
                // All wait until the last one was started: the sender is then dropped.
                let _ = stopped.lock().map(|s| s.recv());
            };
            if let Err(source) = thread::Builder::new().spawn_scoped(scope, wait) {
                refused = Some(LimitError::Threads { needed, source });
                break;
            }
        }
        drop(stop);
        refused.map_or(Ok(()), Err)
    })
}

/// What a user should know of limits that end a study sooner or later, in words.
#[must_use]
pub fn remarks() -> Vec<String> {
    let finite = |resource| getrlimit(resource).ok().map(|(soft, _)| soft).filter(|n| *n != RLIM_INFINITY);
    let mut said = Vec::new();
    if let Some(seconds) = finite(Resource::RLIMIT_CPU) {
        said.push(format!(
            "each process may use {seconds} s of processor time (`ulimit -t`): the system ends a study or a worker that uses more"
        ));
    }
    if let Some(bytes) = finite(Resource::RLIMIT_FSIZE) {
        said.push(format!(
            "no file may grow over {} (`ulimit -f`): artifacts and the database included",
            Bytes(bytes)
        ));
    }
    if let Some(bytes) = finite(Resource::RLIMIT_AS) {
        said.push(format!("each process may map {} (`ulimit -v`): model files included", Bytes(bytes)));
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_named_with_its_remedy() {
        let text = check(u32::MAX / 2).unwrap_err().to_string();
        assert!(text.contains("ulimit -n"), "{text}");
        let refused = LimitError::Threads { needed: 9, source: io::Error::from_raw_os_error(libc::EAGAIN) };
        assert!(refused.to_string().contains("ulimit -u"));
    }

    #[test]
    fn a_usual_process_has_all_that_it_needs() {
        prepare();
        check(2).unwrap();
    }
}
