//! The system calls that judged code may make: an allow list, so that what is new in a kernel is closed until someone opens it.
//!
//! Of several filters with equal actions the newest one's error number counts. So the allow list comes first: what is not on it gives
//! ENOSYS, which runtimes take for an old kernel. Then what is refused on purpose: EPERM. Then new processes: EAGAIN.
//!
//! A fork server wears the first two, with the few exceptions that it needs; each process that it forks closes those and adds the third.
//! Installing a long filter costs a third of a millisecond, which is why it is not left to the children.

mod lists;

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

use super::spawn::EXEC_FD;
use lists::{
    ALLOWED, ALLOWED_HERE, FCNTL_REFUSED, IOCTL, NAMES, PRCTL, REFUSED, REFUSED_HERE, SERVER, SERVER_PRCTL,
    THREAD, WRITING,
};

/// Which part a process has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// An interpreter that is started confined: it may execute [`EXEC_FD`], which is closed by that, and nothing else.
    Alone,
    /// A fork server, started the same way.
    Server,
    /// What a fork server forks, on top of its filters.
    Forked,
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// The processor that this program was built for; `None` where no filter can be made.
fn arch() -> Option<TargetArch> {
    std::env::consts::ARCH.try_into().ok()
}

/// The filters of a role, to be installed in their order; with `read_only` files may not be opened for writing, for kernels where
/// landlock does not confine them. Empty where the processor is unknown.
pub(super) fn filters(role: Role, read_only: bool) -> Result<Vec<BpfProgram>, BackendError> {
    let Some(arch) = arch() else { return Ok(Vec::new()) };
    let build = |rules: Rules, rest: SeccompAction, listed: SeccompAction| {
        SeccompFilter::new(rules, rest, listed, arch).and_then(BpfProgram::try_from)
    };
    let errno = |code: i32| SeccompAction::Errno(code as u32);
    let allowed = || build(allowed(role, read_only)?, errno(libc::ENOSYS), SeccompAction::Allow);
    let refused = || build(refused(role, read_only)?, SeccompAction::Allow, errno(libc::EPERM));
    let processes = || build(processes()?, SeccompAction::Allow, errno(libc::EAGAIN));
    Ok(match role {
        Role::Alone => vec![allowed()?, refused()?, processes()?],
        Role::Server => vec![allowed()?, refused()?],
        Role::Forked => vec![refused()?, processes()?],
    })
}

/// A rule: all of these conditions hold. Each is an argument's number, its width, a comparison and a value.
fn rule(conditions: &[(u8, Len, Op, u64)]) -> Result<SeccompRule, BackendError> {
    let conditions = conditions
        .iter()
        .map(|(argument, length, operator, value)| {
            SeccompCondition::new(*argument, length.clone(), operator.clone(), *value)
        })
        .collect::<Result<_, _>>()?;
    SeccompRule::new(conditions)
}

fn one_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>, BackendError> {
    values.iter().map(|&value| rule(&[(argument, Len::Dword, Op::Eq, value)])).collect()
}

/// Calls that are listed with any arguments.
fn any(calls: &[&[c_long]]) -> Rules {
    calls.iter().flat_map(|calls| calls.iter()).map(|&call| (call, Vec::new())).collect()
}

fn allowed(role: Role, read_only: bool) -> Result<Rules, BackendError> {
    let server: &[c_long] = if role == Role::Server { SERVER } else { &[] };
    let mut rules = any(&[ALLOWED, ALLOWED_HERE, server, if read_only { &[] } else { NAMES }]);
    rules.insert(libc::SYS_prctl, one_of(0, PRCTL)?);
    rules.insert(libc::SYS_ioctl, one_of(1, IOCTL)?);
    if role == Role::Server {
        rules.insert(libc::SYS_prctl, one_of(0, &[PRCTL, SERVER_PRCTL].concat())?);
        rules.extend(any(&[&[libc::SYS_prlimit64, libc::SYS_clone]]));
        #[cfg(target_arch = "x86_64")]
        rules.extend(any(&[&[libc::SYS_fork, libc::SYS_vfork]]));
    } else {
        // Reading limits, not setting them: no new limit is given.
        let reading = rule(&[(0, Len::Dword, Op::Eq, 0), (2, Len::Qword, Op::Eq, 0)])?;
        rules.insert(libc::SYS_prlimit64, vec![reading]);
        rules.insert(libc::SYS_clone, vec![rule(&[(0, Len::Dword, Op::MaskedEq(THREAD), THREAD)])?]);
    }
    let open = |flags: u8| -> Result<Vec<SeccompRule>, BackendError> {
        if read_only {
            Ok(vec![rule(&[(flags, Len::Dword, Op::MaskedEq(WRITING), 0)])?])
        } else {
            Ok(Vec::new())
        }
    };
    rules.insert(libc::SYS_openat, open(2)?);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_open, open(1)?);
    let flags = libc::AT_EMPTY_PATH as u64;
    let exec = rule(&[(0, Len::Dword, Op::Eq, EXEC_FD as u64), (4, Len::Dword, Op::Eq, flags)])?;
    rules.insert(libc::SYS_execveat, vec![exec]);
    Ok(rules)
}

fn refused(role: Role, read_only: bool) -> Result<Rules, BackendError> {
    if role == Role::Forked {
        let mut rules = any(&[SERVER, &[libc::SYS_execveat]]);
        rules.insert(libc::SYS_prctl, one_of(0, SERVER_PRCTL)?);
        rules.insert(libc::SYS_prlimit64, vec![rule(&[(2, Len::Qword, Op::Ne, 0)])?]);
        return Ok(rules);
    }
    let mut rules = any(&[REFUSED, REFUSED_HERE, if read_only { NAMES } else { &[] }]);
    if role == Role::Server {
        rules.retain(|call, _| !SERVER.contains(call));
    }
    rules.insert(libc::SYS_fcntl, one_of(1, FCNTL_REFUSED)?);
    Ok(rules)
}

/// New processes. `clone3` hides its flags behind a pointer: it is not on the allow list, and the C libraries fall back to `clone`.
fn processes() -> Result<Rules, BackendError> {
    // A clone that lacks any of the three flags is no thread.
    let lacking = [libc::CLONE_THREAD, libc::CLONE_VM, libc::CLONE_SIGHAND]
        .map(|flag| rule(&[(0, Len::Dword, Op::MaskedEq(flag as u64), 0)]))
        .into_iter()
        .collect::<Result<_, _>>()?;
    let mut rules = Rules::from([(libc::SYS_clone, lacking)]);
    #[cfg(target_arch = "x86_64")]
    rules.extend(any(&[&[libc::SYS_fork, libc::SYS_vfork]]));
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_fit_the_kernel() {
        for (role, count) in [(Role::Alone, 3), (Role::Server, 2), (Role::Forked, 2)] {
            let programs = filters(role, true).unwrap();
            assert_eq!(programs.len(), count);
            assert!(programs.iter().all(|program| !program.is_empty() && program.len() < 4096));
        }
    }

    #[test]
    fn nothing_is_both_allowed_and_refused() {
        for (role, read_only) in [(Role::Alone, false), (Role::Alone, true), (Role::Server, false)] {
            let (allowed, refused) = (allowed(role, read_only).unwrap(), refused(role, read_only).unwrap());
            let both: Vec<_> = allowed.keys().filter(|call| refused.contains_key(call)).collect();
            // `fcntl` is refused by its command.
            assert_eq!(both, [&libc::SYS_fcntl]);
        }
    }

    #[test]
    fn what_only_the_server_may_do_is_closed_to_its_children() {
        let refused = refused(Role::Forked, false).unwrap();
        let (server, alone) = (allowed(Role::Server, false).unwrap(), allowed(Role::Alone, false).unwrap());
        let extra = server.keys().filter(|call| !alone.contains_key(call));
        let processes = processes().unwrap();
        for call in extra {
            assert!(refused.contains_key(call) || processes.contains_key(call), "system call {call}");
        }
    }
}
