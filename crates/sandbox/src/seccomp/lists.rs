//! The names: which system calls are allowed, which are refused by name, and which only a fork server makes.

use libc::c_long;

/// Allowed with any arguments.
#[rustfmt::skip]
pub(super) const ALLOWED: &[c_long] = &[
    // Files that landlock confines.
    libc::SYS_read, libc::SYS_write, libc::SYS_readv, libc::SYS_writev, libc::SYS_pread64,
    libc::SYS_pwrite64, libc::SYS_preadv, libc::SYS_pwritev, libc::SYS_lseek, libc::SYS_close,
    libc::SYS_close_range, libc::SYS_fstat, libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_faccessat,
    libc::SYS_faccessat2, libc::SYS_readlinkat, libc::SYS_getcwd, libc::SYS_chdir, libc::SYS_fchdir,
    libc::SYS_getdents64, libc::SYS_dup, libc::SYS_dup3, libc::SYS_pipe2, libc::SYS_fcntl, libc::SYS_flock,
    libc::SYS_ftruncate, libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_statfs, libc::SYS_fstatfs,
    libc::SYS_umask, libc::SYS_fadvise64,
    // Memory, which RLIMIT_AS bounds.
    libc::SYS_mmap, libc::SYS_munmap, libc::SYS_mremap, libc::SYS_mprotect, libc::SYS_madvise,
    libc::SYS_brk, libc::SYS_membarrier, libc::SYS_mincore,
    // Own signals and threads.
    libc::SYS_rt_sigaction, libc::SYS_rt_sigprocmask, libc::SYS_rt_sigreturn, libc::SYS_sigaltstack,
    libc::SYS_rt_sigsuspend, libc::SYS_rt_sigtimedwait, libc::SYS_rt_sigpending, libc::SYS_setitimer,
    libc::SYS_getitimer, libc::SYS_futex, libc::SYS_set_robust_list, libc::SYS_get_robust_list,
    libc::SYS_set_tid_address, libc::SYS_rseq, libc::SYS_sched_yield, libc::SYS_sched_getaffinity,
    libc::SYS_sched_getparam, libc::SYS_sched_getscheduler, libc::SYS_sched_get_priority_max,
    libc::SYS_sched_get_priority_min, libc::SYS_getpriority, libc::SYS_restart_syscall, libc::SYS_exit,
    libc::SYS_exit_group, libc::SYS_wait4, libc::SYS_waitid,
    // Clocks and facts.
    libc::SYS_nanosleep, libc::SYS_clock_nanosleep, libc::SYS_clock_gettime, libc::SYS_clock_getres,
    libc::SYS_gettimeofday, libc::SYS_times, libc::SYS_getpid, libc::SYS_gettid, libc::SYS_getppid,
    libc::SYS_getpgid, libc::SYS_getsid, libc::SYS_getuid, libc::SYS_geteuid, libc::SYS_getgid,
    libc::SYS_getegid, libc::SYS_getresuid, libc::SYS_getresgid, libc::SYS_getgroups, libc::SYS_uname,
    libc::SYS_sysinfo, libc::SYS_getrlimit, libc::SYS_getrusage, libc::SYS_getrandom, libc::SYS_getcpu,
    libc::SYS_capget, libc::SYS_get_mempolicy,
    // Waiting.
    libc::SYS_ppoll, libc::SYS_pselect6, libc::SYS_epoll_create1, libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait, libc::SYS_eventfd2, libc::SYS_timerfd_create, libc::SYS_timerfd_settime,
    libc::SYS_timerfd_gettime,
];

/// Changes of names in the scratch folder: allowed where landlock confines them, else refused.
#[rustfmt::skip]
pub(super) const NAMES: &[c_long] = &[
    libc::SYS_unlinkat, libc::SYS_renameat2, libc::SYS_renameat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
];

/// Older names of the above that only x86-64 has.
#[rustfmt::skip]
#[cfg(target_arch = "x86_64")]
pub(super) const ALLOWED_HERE: &[c_long] = &[
    libc::SYS_stat, libc::SYS_lstat, libc::SYS_access, libc::SYS_readlink, libc::SYS_getdents,
    libc::SYS_dup2, libc::SYS_pipe, libc::SYS_arch_prctl, libc::SYS_time, libc::SYS_getpgrp, libc::SYS_poll,
    libc::SYS_select, libc::SYS_epoll_create, libc::SYS_epoll_wait, libc::SYS_eventfd, libc::SYS_alarm,
    libc::SYS_pause,
];
#[cfg(not(target_arch = "x86_64"))]
pub(super) const ALLOWED_HERE: &[c_long] = &[];

/// Refused by name, so that a program learns that it is not permitted rather than not implemented.
#[rustfmt::skip]
pub(super) const REFUSED: &[c_long] = &[
    libc::SYS_execve, libc::SYS_socket, libc::SYS_socketpair, libc::SYS_connect, libc::SYS_bind,
    libc::SYS_listen, libc::SYS_accept, libc::SYS_accept4, libc::SYS_sendto, libc::SYS_sendmsg,
    libc::SYS_sendmmsg, libc::SYS_recvfrom, libc::SYS_recvmsg, libc::SYS_recvmmsg, libc::SYS_kill,
    libc::SYS_tkill, libc::SYS_tgkill, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_open, libc::SYS_pidfd_getfd, libc::SYS_pidfd_send_signal, libc::SYS_ptrace,
    libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_kcmp, libc::SYS_mount,
    libc::SYS_umount2, libc::SYS_pivot_root, libc::SYS_chroot, libc::SYS_unshare, libc::SYS_setns,
    libc::SYS_bpf, libc::SYS_perf_event_open, libc::SYS_keyctl, libc::SYS_add_key, libc::SYS_request_key,
    libc::SYS_userfaultfd, libc::SYS_memfd_create, libc::SYS_shmget, libc::SYS_shmat, libc::SYS_shmctl,
    libc::SYS_semget, libc::SYS_msgget, libc::SYS_mq_open, libc::SYS_mlock, libc::SYS_mlock2,
    libc::SYS_mlockall, libc::SYS_fchmod, libc::SYS_fchmodat, libc::SYS_fchown, libc::SYS_fchownat,
    libc::SYS_setxattr, libc::SYS_fsetxattr, libc::SYS_lsetxattr, libc::SYS_removexattr,
    libc::SYS_utimensat, libc::SYS_mknodat, libc::SYS_mkdirat, libc::SYS_linkat, libc::SYS_symlinkat,
    libc::SYS_truncate, libc::SYS_fallocate, libc::SYS_setuid, libc::SYS_setgid, libc::SYS_setreuid,
    libc::SYS_setregid, libc::SYS_setresuid, libc::SYS_setresgid, libc::SYS_setgroups, libc::SYS_capset,
    libc::SYS_setrlimit, libc::SYS_setpriority, libc::SYS_sched_setaffinity, libc::SYS_sched_setscheduler,
    libc::SYS_sched_setparam, libc::SYS_setsid, libc::SYS_setpgid, libc::SYS_personality,
    libc::SYS_init_module, libc::SYS_finit_module, libc::SYS_delete_module, libc::SYS_kexec_load,
    libc::SYS_reboot, libc::SYS_swapon, libc::SYS_swapoff, libc::SYS_settimeofday, libc::SYS_clock_settime,
    libc::SYS_sethostname, libc::SYS_setdomainname, libc::SYS_acct, libc::SYS_quotactl, libc::SYS_syslog,
    libc::SYS_open_by_handle_at, libc::SYS_name_to_handle_at, libc::SYS_inotify_init1,
    libc::SYS_fanotify_init, libc::SYS_io_setup,
];

/// Older names of the above that only x86-64 has.
#[rustfmt::skip]
#[cfg(target_arch = "x86_64")]
pub(super) const REFUSED_HERE: &[c_long] = &[
    libc::SYS_chmod, libc::SYS_chown, libc::SYS_lchown, libc::SYS_mknod, libc::SYS_mkdir, libc::SYS_rmdir,
    libc::SYS_link, libc::SYS_symlink, libc::SYS_utime, libc::SYS_utimes, libc::SYS_creat, libc::SYS_iopl,
    libc::SYS_ioperm, libc::SYS_modify_ldt, libc::SYS_inotify_init,
];
#[cfg(not(target_arch = "x86_64"))]
pub(super) const REFUSED_HERE: &[c_long] = &[];

/// `prctl` operations that runtimes use on themselves. Not PR_SET_PDEATHSIG: it ends the process when its owner dies.
#[rustfmt::skip]
pub(super) const PRCTL: &[u64] = &[
    libc::PR_SET_NAME as u64, libc::PR_GET_NAME as u64, libc::PR_SET_NO_NEW_PRIVS as u64,
    libc::PR_SET_SECCOMP as u64, libc::PR_CAPBSET_READ as u64, libc::PR_SET_VMA as u64,
    libc::PR_GET_DUMPABLE as u64,
];

/// What a fork server does and its children may not: watch and kill its children, set limits, and put on layers.
#[rustfmt::skip]
pub(super) const SERVER: &[c_long] = &[
    libc::SYS_pidfd_open, libc::SYS_pidfd_send_signal, libc::SYS_setrlimit, libc::SYS_setsid,
    libc::SYS_landlock_restrict_self,
    // Its own scratch folder, at its end.
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir,
];

/// `prctl` operations of the same kind.
#[rustfmt::skip]
pub(super) const SERVER_PRCTL: &[u64] = &[libc::PR_SET_PDEATHSIG as u64, libc::PR_SET_DUMPABLE as u64];

/// `ioctl` requests about the own descriptors. Their type differs between C libraries.
#[allow(clippy::unnecessary_cast)]
#[rustfmt::skip]
pub(super) const IOCTL: &[u64] = &[
    libc::TCGETS, libc::FIONBIO, libc::FIOCLEX, libc::FIONCLEX,
    libc::FIONREAD, libc::TIOCGWINSZ,
];

/// `fcntl` commands that make the kernel signal others, tell of others' files, or hold more memory.
#[rustfmt::skip]
pub(super) const FCNTL_REFUSED: &[u64] = &[
    libc::F_SETOWN as u64, F_SETSIG, F_SETOWN_EX, libc::F_SETLEASE as u64, libc::F_NOTIFY as u64,
    libc::F_SETPIPE_SZ as u64,
];
pub(super) const F_SETSIG: u64 = 10;
pub(super) const F_SETOWN_EX: u64 = 15;

/// What makes an `open` a write.
pub(super) const WRITING: u64 = (libc::O_WRONLY
    | libc::O_RDWR
    | libc::O_CREAT
    | libc::O_TRUNC
    | libc::O_APPEND
    | (libc::O_TMPFILE & !libc::O_DIRECTORY)) as u64;

/// The flags that a thread has and a process has not.
pub(super) const THREAD: u64 = (libc::CLONE_THREAD | libc::CLONE_VM | libc::CLONE_SIGHAND) as u64;
