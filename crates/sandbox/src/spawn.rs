//! Starts a confined process: `clone` with namespaces and a pidfd, then every layer in the child, then the interpreter.
//!
//! `std::process::Command` cannot give a pidfd and namespaces at once. Between `clone` and `execveat` the child makes system calls
//! only: no allocation, no locks, since other threads of the parent may have held them.
#![allow(unsafe_code)]

use std::{
    ffi::{CStr, CString},
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    ptr,
};

use seccompiler::{BpfProgram, sock_filter};

use super::child::Child;

/// The descriptor number of the interpreter's file in the child; it is closed by the execution.
pub(super) const EXEC_FD: RawFd = 63;
/// The lowest number where descriptors wait before they are put in place: over any target.
const PARKING: RawFd = 100;

/// A small file system in memory, mounted over a folder in the child's own mount namespace.
#[derive(Clone, Debug)]
pub(super) struct Tmpfs {
    /// The folder that it covers.
    pub at: CString,
    /// Mount options: size, inodes, mode.
    pub options: CString,
}

/// Everything that the child does before it runs the interpreter.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The interpreter; without one the child ends with code 0 after the last layer (a probe).
    pub program: Option<File>,
    /// Arguments, the program's name first.
    pub arguments: Vec<CString>,
    /// The whole environment.
    pub environment: Vec<CString>,
    /// Descriptors 0, 1, 2, ... of the child.
    pub descriptors: Vec<OwnedFd>,
    /// `CLONE_NEW*` flags.
    pub namespaces: libc::c_int,
    /// The kernel kills the child when the thread that started it ends.
    pub dies_with_parent: bool,
    /// Mounted first, when there is a mount namespace.
    pub tmpfs: Option<Tmpfs>,
    /// Working folder.
    pub folder: Option<CString>,
    /// Soft and hard limits at once.
    pub limits: Vec<(libc::__rlimit_resource_t, u64)>,
    /// Give up all capabilities, for good.
    pub drop_capabilities: bool,
    /// A landlock ruleset, and the rights in `folder` that are added to it.
    pub landlock: Option<(OwnedFd, u64)>,
    /// Whether the child itself is put under the ruleset, or its descendants put it on.
    pub restrict: bool,
    /// Filters to install, in order.
    pub filters: Vec<BpfProgram>,
}

/// A step of the child that failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to {step}: {source}")]
pub(super) struct SpawnError {
    /// What it was doing.
    pub step: &'static str,
    /// The system's answer.
    pub source: io::Error,
}

/// What the child may fail at, in the order of the codes that it reports.
const STEPS: &[&str] = &[
    "start a process",
    "map the user",
    "make mounts private",
    "mount the scratch folder",
    "enter the scratch folder",
    "place a descriptor",
    "set a limit",
    "drop capabilities",
    "allow the scratch folder",
    "forbid new privileges",
    "apply landlock",
    "apply seccomp",
    "run the interpreter",
];

/// The interpreter's file, opened so that it can be executed and nothing else.
pub(super) fn open_program(path: &Path) -> io::Result<File> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: a valid C string; the descriptor is owned from here on.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_PATH | libc::O_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened, owned by nobody else.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Starts the process that `plan` describes.
pub(super) fn spawn(plan: &Plan) -> Result<Child, SpawnError> {
    let failed = |step| move |source| SpawnError { step, source };
    let (mut report, report_writing) = pipe().map_err(failed("make a pipe"))?;
    let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
        texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
    };
    let (argv, envp) = (pointers(&plan.arguments), pointers(&plan.environment));
    // SAFETY: identity functions of the process.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    let sources = plan.descriptors.iter().map(AsRawFd::as_raw_fd);
    let others =
        [plan.program.as_ref().map(AsRawFd::as_raw_fd), plan.landlock.as_ref().map(|(fd, _)| fd.as_raw_fd())];
    let highest = sources.chain(others.into_iter().flatten()).chain([report_writing.as_raw_fd()]).max();
    let prepared = Prepared {
        uid_map: format!("{uid} {uid} 1").into_bytes(),
        gid_map: format!("{gid} {gid} 1").into_bytes(),
        report: report_writing.as_raw_fd(),
        // No number that is still a source may be overwritten.
        parking: highest.map_or(PARKING, |fd| PARKING.max(fd + 1)),
    };

    // A signal handler of the parent must not run in the child.
    // SAFETY: sigset_t is plain bits; both sets outlive the calls.
    let mut old: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut old);
    }
    let mut pidfd: libc::c_int = -1;
    let flags = plan.namespaces | libc::CLONE_PIDFD | libc::SIGCHLD;
    // SAFETY: without CLONE_VM and with a null stack this is fork(2) that also gives a pidfd. The child makes system calls only.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone,
            libc::c_long::from(flags),
            ptr::null::<u8>(),
            &raw mut pidfd,
            0usize,
            0usize,
        )
    };
    if pid == 0 {
        // SAFETY: we are the only thread of the child, and `run` never returns.
        unsafe { run(plan, &argv, &envp, &prepared) }
    }
    let clone_error = io::Error::last_os_error();
    // SAFETY: `old` was filled above.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const old, ptr::null_mut()) };
    if pid < 0 {
        return Err(SpawnError { step: STEPS[0], source: clone_error });
    }
    drop(report_writing);
    // SAFETY: the kernel gave us this descriptor.
    let mut child = Child::new(pid as libc::pid_t, unsafe { OwnedFd::from_raw_fd(pidfd) });
    // The pipe closes by itself when the interpreter starts.
    let mut answer = Vec::new();
    report.read_to_end(&mut answer).map_err(failed("read from the process"))?;
    match answer[..] {
        [] => Ok(child),
        [step, a, b, c, d] => {
            child.wait();
            Err(SpawnError {
                step: STEPS.get(usize::from(step)).copied().unwrap_or("start a process"),
                source: io::Error::from_raw_os_error(i32::from_ne_bytes([a, b, c, d])),
            })
        }
        _ => Err(SpawnError { step: "read from the process", source: io::ErrorKind::InvalidData.into() }),
    }
}

/// A pipe whose ends are closed on execution.
pub(super) fn pipe() -> io::Result<(File, File)> {
    let (reading, writing) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    Ok((reading.into(), writing.into()))
}

/// What the parent computes for the child, which may not allocate.
struct Prepared {
    uid_map: Vec<u8>,
    gid_map: Vec<u8>,
    /// Where failures are reported.
    report: RawFd,
    /// First of the numbers where descriptors wait: the report, the program, the ruleset, then those to be placed.
    parking: RawFd,
}

/// The child. System calls only.
///
/// # Safety
/// To be called in a freshly cloned process of one thread.
unsafe fn run(
    plan: &Plan,
    argv: &[*const libc::c_char],
    envp: &[*const libc::c_char],
    prepared: &Prepared,
) -> ! {
    // SAFETY: all pointers come from values that the parent keeps alive across clone; this is a copy of its memory.
    unsafe {
        libc::dup2(prepared.report, prepared.parking);
        let mut step = layers(plan, prepared);
        if step == 0 {
            if plan.program.is_none() {
                libc::_exit(0);
            }
            libc::syscall(
                libc::SYS_execveat,
                EXEC_FD,
                c"".as_ptr(),
                argv.as_ptr(),
                envp.as_ptr(),
                libc::AT_EMPTY_PATH,
            );
            step = 12;
        }
        let errno = (*libc::__errno_location()).to_ne_bytes();
        let message = [step, errno[0], errno[1], errno[2], errno[3]];
        libc::write(prepared.parking, message.as_ptr().cast(), message.len());
        libc::_exit(126)
    }
}

/// Puts on every layer; gives 0, or the index in [`STEPS`] of what failed with `errno` set.
///
/// # Safety
/// As [`run`].
unsafe fn layers(plan: &Plan, prepared: &Prepared) -> u8 {
    // SAFETY: as `run`.
    unsafe {
        libc::setsid();
        if plan.dies_with_parent {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
        }
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());

        if plan.namespaces & libc::CLONE_NEWUSER != 0
            && !(write_file(c"/proc/self/setgroups", b"deny")
                && write_file(c"/proc/self/uid_map", &prepared.uid_map)
                && write_file(c"/proc/self/gid_map", &prepared.gid_map))
        {
            return 1;
        }
        if plan.namespaces & libc::CLONE_NEWNS != 0 {
            let private = libc::MS_REC | libc::MS_PRIVATE;
            if libc::mount(c"none".as_ptr(), c"/".as_ptr(), ptr::null(), private, ptr::null()) != 0 {
                return 2;
            }
            if let Some(tmpfs) = &plan.tmpfs {
                let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
                let options = tmpfs.options.as_ptr().cast();
                if libc::mount(c"autotune".as_ptr(), tmpfs.at.as_ptr(), c"tmpfs".as_ptr(), flags, options)
                    != 0
                {
                    return 3;
                }
            }
        }
        if let Some(folder) = &plan.folder
            && libc::chdir(folder.as_ptr()) != 0
        {
            return 4;
        }
        if !place(plan, prepared.parking) {
            return 5;
        }
        for (resource, value) in &plan.limits {
            let limit = libc::rlimit { rlim_cur: *value, rlim_max: *value };
            if libc::setrlimit(*resource, &raw const limit) != 0 {
                return 6;
            }
        }
        if plan.drop_capabilities && !drop_capabilities() {
            return 7;
        }
        let step = restrict(plan, prepared.parking + 2);
        if step != 0 {
            return step;
        }
        for filter in &plan.filters {
            let program =
                libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut().cast() };
            const { assert!(size_of::<sock_filter>() == size_of::<libc::sock_filter>()) };
            if libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program, 0, 0) != 0 {
                return 11;
            }
        }
        0
    }
}

/// Descriptors to their places; all others are closed by the execution.
///
/// # Safety
/// As [`run`].
unsafe fn place(plan: &Plan, parking: RawFd) -> bool {
    // SAFETY: as `run`.
    unsafe {
        let special = [
            plan.program.as_ref().map(AsRawFd::as_raw_fd),
            plan.landlock.as_ref().map(|(fd, _)| fd.as_raw_fd()),
        ];
        let waiting = special.into_iter().chain(plan.descriptors.iter().map(|fd| Some(fd.as_raw_fd())));
        for (index, fd) in waiting.enumerate() {
            if let Some(fd) = fd
                && libc::dup2(fd, parking + 1 + index as RawFd) < 0
            {
                return false;
            }
        }
        let count = plan.descriptors.len() as RawFd;
        for target in 0..count {
            if libc::dup2(parking + 3 + target, target) < 0 {
                return false;
            }
        }
        if plan.program.is_some() && libc::dup2(parking + 1, EXEC_FD) < 0 {
            return false;
        }
        libc::syscall(
            libc::SYS_close_range,
            count as libc::c_uint,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        ) == 0
    }
}

/// Landlock and no_new_privs; gives 0 or the step that failed.
///
/// # Safety
/// As [`run`].
unsafe fn restrict(plan: &Plan, ruleset: RawFd) -> u8 {
    /// `struct landlock_path_beneath_attr`: the rights, then the folder.
    #[repr(C, packed)]
    struct PathBeneathAttr {
        allowed_access: u64,
        parent_fd: i32,
    }
    const LANDLOCK_RULE_PATH_BENEATH: libc::c_int = 1;
    // SAFETY: as `run`.
    unsafe {
        if let Some((_, rights)) = &plan.landlock {
            if plan.folder.is_some() {
                let here = libc::open(c".".as_ptr(), libc::O_PATH | libc::O_CLOEXEC);
                let attr = PathBeneathAttr { allowed_access: *rights, parent_fd: here };
                let kind = LANDLOCK_RULE_PATH_BENEATH;
                if libc::syscall(libc::SYS_landlock_add_rule, ruleset, kind, &raw const attr, 0) != 0 {
                    return 8;
                }
                libc::close(here);
            }
            if !plan.restrict {
                // Its descendants put it on: it stays open, first behind the placed descriptors.
                let target = plan.descriptors.len() as RawFd;
                if libc::dup2(ruleset, target) < 0 {
                    return 8;
                }
            }
        }
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 {
            return 9;
        }
        if plan.restrict
            && plan.landlock.is_some()
            && libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0) != 0
        {
            return 10;
        }
        0
    }
}

/// Writes a short file in one call.
///
/// # Safety
/// As [`run`].
unsafe fn write_file(path: &CStr, text: &[u8]) -> bool {
    // SAFETY: as `run`.
    unsafe {
        let fd = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if fd < 0 {
            return false;
        }
        let written = libc::write(fd, text.as_ptr().cast(), text.len());
        libc::close(fd);
        written == text.len() as isize
    }
}

/// Empties all capability sets, so that even uid 0 has none, now and after an execution.
///
/// # Safety
/// As [`run`].
unsafe fn drop_capabilities() -> bool {
    /// `struct __user_cap_header_struct`, version 3.
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    const SECBIT_NOROOT_LOCKED: libc::c_ulong = 0b11;
    const SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED: libc::c_ulong = 0b1100_0000;
    // SAFETY: as `run`; the kernel reads a header and two triples of zeros.
    unsafe {
        let bits = SECBIT_NOROOT_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
        // Without CAP_SETPCAP there is nothing to lock.
        libc::prctl(libc::PR_SET_SECUREBITS, bits, 0, 0, 0);
        for capability in 0..=63 {
            libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
        }
        let header = Header { version: VERSION_3, pid: 0 };
        let nothing = [0u32; 6];
        libc::syscall(libc::SYS_capset, &raw const header, nothing.as_ptr()) == 0
    }
}
