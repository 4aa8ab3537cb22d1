//! The system calls that judged code may make: an allow list, so that what is new in a kernel is closed until someone opens it.
//!
//! Three filters, installed in this order (with equal actions the newest filter's error number counts): all that is not listed gives
//! ENOSYS, which runtimes take as "an old kernel"; what is refused on purpose gives EPERM; new processes give EAGAIN.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// What differs between the processes that are confined.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Profile {
    /// The descriptor that this process may execute, once: it is closed by that. `None`: no execution at all.
    pub exec_fd: Option<i32>,
    /// Files may not be opened for writing: needed where landlock does not confine them.
    pub read_only: bool,
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Allowed with any arguments.
const ALLOWED: &[c_long] = &[
    // Files that landlock confines.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getcwd,
    libc::SYS_chdir,
    libc::SYS_fchdir,
    libc::SYS_getdents64,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_pipe2,
    libc::SYS_fcntl,
    libc::SYS_flock,
    libc::SYS_ftruncate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_umask,
    libc::SYS_fadvise64,
    // Memory, which RLIMIT_AS bounds.
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_membarrier,
    libc::SYS_mincore,
    // Own signals and threads.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_rt_sigpending,
    libc::SYS_setitimer,
    libc::SYS_getitimer,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_get_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min,
    libc::SYS_getpriority,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_wait4,
    libc::SYS_waitid,
    // Clocks and facts.
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_times,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getppid,
    libc::SYS_getpgid,
    libc::SYS_getsid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_getgroups,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrlimit,
    libc::SYS_getrusage,
    libc::SYS_getrandom,
    libc::SYS_getcpu,
    libc::SYS_capget,
    libc::SYS_get_mempolicy,
    // Waiting.
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
];

/// Changes of names in the scratch folder: allowed where landlock confines them, else refused.
const NAMES: &[c_long] = &[
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    libc::SYS_renameat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
];

/// Older names of the above that only x86-64 has.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[c_long] = &[
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_getdents,
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_arch_prctl,
    libc::SYS_time,
    libc::SYS_getpgrp,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_create,
    libc::SYS_epoll_wait,
    libc::SYS_eventfd,
    libc::SYS_alarm,
    libc::SYS_pause,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[c_long] = &[];

/// Refused by name, so that a program learns that it is not permitted rather than not implemented.
const REFUSED: &[c_long] = &[
    libc::SYS_execve,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_userfaultfd,
    libc::SYS_memfd_create,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_msgget,
    libc::SYS_mq_open,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_mlockall,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_fsetxattr,
    libc::SYS_lsetxattr,
    libc::SYS_removexattr,
    libc::SYS_utimensat,
    libc::SYS_mknodat,
    libc::SYS_mkdirat,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_truncate,
    libc::SYS_fallocate,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    libc::SYS_setrlimit,
    libc::SYS_setpriority,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setscheduler,
    libc::SYS_sched_setparam,
    libc::SYS_setsid,
    libc::SYS_setpgid,
    libc::SYS_personality,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_inotify_init1,
    libc::SYS_fanotify_init,
    libc::SYS_io_setup,
];

#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[c_long] = &[
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_mknod,
    libc::SYS_mkdir,
    libc::SYS_rmdir,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_creat,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_inotify_init,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[c_long] = &[];

/// `prctl` operations that runtimes use on themselves. Not PR_SET_PDEATHSIG: it ends the process when its owner dies.
const PRCTL: &[u64] = &[
    libc::PR_SET_NAME as u64,
    libc::PR_GET_NAME as u64,
    libc::PR_SET_NO_NEW_PRIVS as u64,
    libc::PR_SET_SECCOMP as u64,
    libc::PR_CAPBSET_READ as u64,
    libc::PR_SET_VMA as u64,
    libc::PR_GET_DUMPABLE as u64,
];

/// `ioctl` requests about the own descriptors.
const IOCTL: &[u64] = &[
    libc::TCGETS as u64,
    libc::FIONBIO as u64,
    libc::FIOCLEX as u64,
    libc::FIONCLEX as u64,
    libc::FIONREAD as u64,
    libc::TIOCGWINSZ as u64,
];

/// `fcntl` commands that make the kernel signal others, tell of others' files, or hold more memory.
const FCNTL_REFUSED: &[u64] = &[
    libc::F_SETOWN as u64,
    F_SETSIG,
    F_SETOWN_EX,
    libc::F_SETLEASE as u64,
    libc::F_NOTIFY as u64,
    libc::F_SETPIPE_SZ as u64,
];
const F_SETSIG: u64 = 10;
const F_SETOWN_EX: u64 = 15;

/// What makes an `open` a write.
const WRITING: u64 = (libc::O_WRONLY
    | libc::O_RDWR
    | libc::O_CREAT
    | libc::O_TRUNC
    | libc::O_APPEND
    | (libc::O_TMPFILE & !libc::O_DIRECTORY)) as u64;

/// The flags that a thread has and a process has not.
const THREAD: u64 = (libc::CLONE_THREAD | libc::CLONE_VM | libc::CLONE_SIGHAND) as u64;

/// The processor that this program was built for; `None` where no filter can be made.
fn arch() -> Option<TargetArch> {
    std::env::consts::ARCH.try_into().ok()
}

/// The filters of a profile, to be installed in their order. Empty where the processor is unknown.
pub(super) fn filters(profile: Profile) -> Result<Vec<BpfProgram>, seccompiler::BackendError> {
    let Some(arch) = arch() else { return Ok(Vec::new()) };
    let build = |rules: Rules, rest: SeccompAction, listed: SeccompAction| {
        SeccompFilter::new(rules, rest, listed, arch).and_then(BpfProgram::try_from)
    };
    let errno = |code: i32| SeccompAction::Errno(code as u32);
    Ok(vec![
        build(allowed(profile)?, errno(libc::ENOSYS), SeccompAction::Allow)?,
        build(refused(profile)?, SeccompAction::Allow, errno(libc::EPERM))?,
        build(processes()?, SeccompAction::Allow, errno(libc::EAGAIN))?,
    ])
}

fn condition(arg: u8, len: Len, op: Op, value: u64) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(arg, len, op, value)
}

fn one_of(arg: u8, values: &[u64]) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    values.iter().map(|&value| SeccompRule::new(vec![condition(arg, Len::Dword, Op::Eq, value)?])).collect()
}

fn allowed(profile: Profile) -> Result<Rules, seccompiler::BackendError> {
    let names = if profile.read_only { &[] } else { NAMES };
    let mut rules: Rules =
        ALLOWED.iter().chain(ALLOWED_HERE).chain(names).map(|&call| (call, Vec::new())).collect();
    rules.insert(libc::SYS_prctl, one_of(0, PRCTL)?);
    rules.insert(libc::SYS_ioctl, one_of(1, IOCTL)?);
    // Reading limits, not setting them: no new limit is given.
    rules.insert(
        libc::SYS_prlimit64,
        vec![SeccompRule::new(vec![
            condition(0, Len::Dword, Op::Eq, 0)?,
            condition(2, Len::Qword, Op::Eq, 0)?,
        ])?],
    );
    rules.insert(
        libc::SYS_clone,
        vec![SeccompRule::new(vec![condition(0, Len::Dword, Op::MaskedEq(THREAD), THREAD)?])?],
    );
    let open = |arg| -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
        if profile.read_only {
            Ok(vec![SeccompRule::new(vec![condition(arg, Len::Dword, Op::MaskedEq(WRITING), 0)?])?])
        } else {
            Ok(Vec::new())
        }
    };
    rules.insert(libc::SYS_openat, open(2)?);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_open, open(1)?);
    if let Some(fd) = profile.exec_fd {
        rules.insert(
            libc::SYS_execveat,
            vec![SeccompRule::new(vec![
                condition(0, Len::Dword, Op::Eq, fd as u64)?,
                condition(4, Len::Dword, Op::Eq, libc::AT_EMPTY_PATH as u64)?,
            ])?],
        );
    }
    Ok(rules)
}

fn refused(profile: Profile) -> Result<Rules, seccompiler::BackendError> {
    let exec: &[c_long] = if profile.exec_fd.is_none() { &[libc::SYS_execveat] } else { &[] };
    let names = if profile.read_only { NAMES } else { &[] };
    let mut rules: Rules =
        REFUSED.iter().chain(REFUSED_HERE).chain(exec).chain(names).map(|&call| (call, Vec::new())).collect();
    rules.insert(libc::SYS_fcntl, one_of(1, FCNTL_REFUSED)?);
    Ok(rules)
}

/// New processes. `clone3` hides its flags behind a pointer: it is not on the allow list, and the C libraries fall back to `clone`.
fn processes() -> Result<Rules, seccompiler::BackendError> {
    // A missing flag each: a clone that lacks any of the three is no thread.
    let lacking = |flag: i32| -> Result<SeccompRule, seccompiler::BackendError> {
        SeccompRule::new(vec![condition(0, Len::Dword, Op::MaskedEq(flag as u64), 0)?])
    };
    let mut rules = Rules::from([(
        libc::SYS_clone,
        vec![lacking(libc::CLONE_THREAD)?, lacking(libc::CLONE_VM)?, lacking(libc::CLONE_SIGHAND)?],
    )]);
    #[cfg(target_arch = "x86_64")]
    rules.extend([(libc::SYS_fork, Vec::new()), (libc::SYS_vfork, Vec::new())]);
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_fit_the_kernel() {
        let programs = filters(Profile { exec_fd: Some(9), read_only: true }).unwrap();
        assert_eq!(programs.len(), 3);
        assert!(programs.iter().all(|p| !p.is_empty() && p.len() < 4096));
    }

    #[test]
    fn nothing_is_both_allowed_and_refused() {
        for read_only in [false, true] {
            let profile = Profile { exec_fd: None, read_only };
            let (allowed, refused) = (allowed(profile).unwrap(), refused(profile).unwrap());
            let both: Vec<_> = allowed.keys().filter(|call| refused.contains_key(call)).collect();
            // `fcntl` is refused by its command.
            assert_eq!(both, [&libc::SYS_fcntl]);
        }
    }
}
