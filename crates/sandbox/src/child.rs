//! A started process: known by its pidfd, so that no other can be hit, and reaped with what it used.
#![allow(unsafe_code)]

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    ptr,
    time::Duration,
};

/// A started process; killed and reaped when dropped.
#[derive(Debug)]
pub(super) struct Child {
    pid: libc::pid_t,
    pidfd: OwnedFd,
    reaped: bool,
}

/// How a process ended, and what it used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    /// As `wait4` gives it.
    pub status: libc::c_int,
    /// User and system time.
    pub cpu: Duration,
}

impl Child {
    /// A child of this process, with its pidfd, that nobody else reaps.
    pub(super) fn new(pid: libc::pid_t, pidfd: OwnedFd) -> Self {
        Self { pid, pidfd, reaped: false }
    }

    /// Its number, which stays its own until it is reaped.
    pub(super) fn pid(&self) -> libc::pid_t {
        self.pid
    }

    /// CPU time so far, by the process's own clock.
    pub(super) fn cpu(&self) -> Duration {
        let clock = (!self.pid << 3) | 2;
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` outlives the call; the clock id of a process is (~pid << 3) | CPUCLOCK_SCHED, see clock_getcpuclockid(3).
        if unsafe { libc::clock_gettime(clock, &raw mut time) } == 0 {
            Duration::new(time.tv_sec.max(0) as u64, time.tv_nsec.clamp(0, 999_999_999) as u32)
        } else {
            Duration::ZERO
        }
    }

    /// Kills it; no other process can be hit, since a pidfd is never reused.
    pub(super) fn kill(&self) {
        // SAFETY: plain system call on a descriptor that we own.
        unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                self.pidfd.as_raw_fd(),
                libc::SIGKILL,
                ptr::null::<u8>(),
                0,
            );
        }
    }

    /// Waits for its end.
    pub(super) fn wait(&mut self) -> Ended {
        let mut status = 0;
        // SAFETY: rusage is plain integers, for which zero is a value.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        loop {
            // SAFETY: both pointers outlive the call; the process is our child and was not reaped.
            let result = unsafe { libc::wait4(self.pid, &raw mut status, 0, &raw mut usage) };
            if result >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                break;
            }
        }
        self.reaped = true;
        let time = |t: libc::timeval| {
            Duration::new(t.tv_sec.max(0) as u64, (t.tv_usec.clamp(0, 999_999) * 1000) as u32)
        };
        Ended { status, cpu: time(usage.ru_utime) + time(usage.ru_stime) }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            self.kill();
            self.wait();
        }
    }
}
