//! Calls to the kernel that the standard library does not offer.
#![allow(unsafe_code)]

use std::io;
use std::time::Duration;

/// What the kernel counted for one ended child (not for all children together).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChildUsage {
    /// Exit code, or none when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Processor time, user and system.
    pub cpu: Duration,
    /// Largest resident set, in bytes. Linux counts the parent's at the time of the spawn into it, so that it is an upper bound for
    /// children smaller than their parent.
    pub max_rss_bytes: u64,
}

/// Waits for the child `pid` to end and returns its own resource usage (`wait4`). The child must not be waited for elsewhere.
///
/// # Errors
/// No such child.
#[cfg(unix)]
pub fn wait_child(pid: u32) -> io::Result<ChildUsage> {
    let id = libc::pid_t::try_from(pid).map_err(|_| io::Error::other("process id out of range"))?;
    let mut status = 0;
    // SAFETY: an all-zero `rusage` is a valid value of the plain C struct.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers are to live locals of the right type.
        let waited = unsafe { libc::wait4(id, &mut status, 0, &mut usage) };
        if waited == id {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    let time = |t: libc::timeval| {
        Duration::from_secs(u64::try_from(t.tv_sec).unwrap_or(0))
            + Duration::from_micros(u64::try_from(t.tv_usec).unwrap_or(0))
    };
    let unit = if cfg!(target_os = "macos") { 1 } else { 1024 };
    Ok(ChildUsage {
        code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
        signal: libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)),
        cpu: time(usage.ru_utime) + time(usage.ru_stime),
        max_rss_bytes: u64::try_from(usage.ru_maxrss).unwrap_or(0) * unit,
    })
}

/// Whether the child `pid` has ended; it stays to be waited for, so that its number is not given to another process.
///
/// # Errors
/// No such child.
#[cfg(unix)]
pub fn has_ended(pid: u32) -> io::Result<bool> {
    loop {
        // SAFETY: an all-zero `siginfo_t` is a valid value of the plain C struct.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        // SAFETY: the pointer is to a live local of the right type.
        if unsafe { libc::waitid(libc::P_PID, pid, &mut info, flags) } == 0 {
            // SAFETY: `waitid` succeeded: the process id is set, to 0 while no child is in the state that was asked for.
            return Ok(unsafe { info.si_pid() } != 0);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Ends this process at once: no destructors of the C library or of native code run, which other threads may still be using.
#[cfg(unix)]
pub fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no preconditions and does not return.
    unsafe { libc::_exit(code) }
}

/// Limits the data segment of another process of ours (anonymous memory that it may write to, stacks of threads included), in bytes:
/// beyond, the kernel refuses it memory.
///
/// # Errors
/// No such process, no permission, or no such limit on this system.
#[cfg(target_os = "linux")]
pub fn limit_data(pid: u32, bytes: u64) -> io::Result<()> {
    let id = libc::pid_t::try_from(pid).map_err(|_| io::Error::other("process id out of range"))?;
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: the pointer is to a live local of the right type; the old limit is not asked for.
    match unsafe { libc::prlimit(id, libc::RLIMIT_DATA, &limit, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// There is no such limit for another process here.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn limit_data(_pid: u32, _bytes: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    // `wait_child` is what waits.
    #[allow(clippy::zombie_processes)]
    fn a_childs_end_is_told_with_its_usage() {
        let child = Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
        let usage = wait_child(child.id()).unwrap();
        assert_eq!((usage.code, usage.signal), (Some(7), None));
        assert!(usage.max_rss_bytes > 100_000);
        let child = Command::new("sh").args(["-c", "kill -9 $$"]).spawn().unwrap();
        assert_eq!(wait_child(child.id()).unwrap().signal, Some(9));
    }

    #[test]
    // `wait_child` is what waits.
    #[allow(clippy::zombie_processes)]
    fn an_ended_child_can_still_be_waited_for() {
        let mut child =
            Command::new("sh").args(["-c", "read x; exit 5"]).stdin(Stdio::piped()).spawn().unwrap();
        assert!(!has_ended(child.id()).unwrap());
        drop(child.stdin.take());
        while !has_ended(child.id()).unwrap() {
            std::thread::yield_now();
        }
        assert!(has_ended(child.id()).unwrap());
        assert_eq!(wait_child(child.id()).unwrap().code, Some(5));
        assert!(has_ended(child.id()).is_err());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_is_refused_memory_beyond_its_limit() {
        use std::io::Write;

        let limited = |bytes: Option<u64>| {
            // Reads a line, then doubles it to 64 MB.
            let script = "read x; i=0; while [ $i -lt 26 ]; do x=$x$x; i=$((i+1)); done; echo ${#x}";
            let mut child = Command::new("sh")
                .args(["-c", script])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            if let Some(bytes) = bytes {
                limit_data(child.id(), bytes).unwrap();
            }
            child.stdin.take().unwrap().write_all(b"a\n").unwrap();
            String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
        };
        assert_eq!(limited(None).trim(), "67108864");
        assert_eq!(limited(Some(32 << 20)).trim(), "");
        assert!(limit_data(u32::MAX, 1).is_err());
    }

    #[test]
    fn a_stranger_is_no_child() {
        assert!(wait_child(1).is_err());
    }
}
