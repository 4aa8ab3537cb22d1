//! Which protections this machine offers, found by using them once in a child process.

use serde::{Deserialize, Serialize};

use super::{
    Mode, SandboxError, cgroup, landlock, scratch, seccomp,
    spawn::{self, Plan},
};

/// Namespaces that separate a program from the machine; any set that the kernel grants is an addition to the other layers.
const NAMESPACES: libc::c_int =
    libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;

/// The layers of the sandbox that are active on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layers {
    /// Landlock's ABI version; 0: the kernel has none, or it is switched off.
    pub landlock_abi: u32,
    /// System call filters can be installed.
    pub seccomp: bool,
    /// Limits on memory, time, files.
    pub rlimits: bool,
    /// Processes are started in namespaces of their own (PID, network, mount, IPC, host name).
    pub namespaces: bool,
    /// The namespaces come with a user namespace, which needs no privilege.
    pub user_namespace: bool,
    /// Control groups that bound threads and memory can be made.
    pub cgroups: bool,
}

impl Layers {
    /// Whether all of landlock, seccomp and rlimits are there.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        self.landlock_abi > 0 && self.seccomp && self.rlimits
    }

    /// The missing ones of landlock, seccomp and rlimits, for people.
    #[must_use]
    pub fn missing(&self) -> String {
        let parts =
            [(self.landlock_abi > 0, "landlock"), (self.seccomp, "seccomp"), (self.rlimits, "rlimits")];
        parts.iter().filter(|(there, _)| !there).map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
    }

    /// The `CLONE_NEW*` flags to start processes with.
    pub(super) fn namespace_flags(&self) -> libc::c_int {
        match (self.namespaces, self.user_namespace) {
            (false, _) => 0,
            (true, false) => NAMESPACES,
            (true, true) => NAMESPACES | libc::CLONE_NEWUSER,
        }
    }

    /// Whether `mode` accepts this machine.
    pub(super) fn accept(&self, mode: Mode) -> Result<(), SandboxError> {
        let refuse = |remedy| Err(SandboxError::Unprotected { missing: self.missing(), remedy });
        match mode {
            Mode::Off => Ok(()),
            Mode::Strict if !self.is_strict() => {
                refuse("strict mode needs all of them; use a newer kernel, or --sandbox auto")
            }
            // Without seccomp a program could start processes and reach the network.
            Mode::Auto if !self.seccomp => refuse(
                "use Linux 5.13 or newer with landlock and seccomp, or allow it knowingly with --sandbox off",
            ),
            _ => Ok(()),
        }
    }
}

/// Finds the layers by trying each in a child process; a few milliseconds.
#[must_use]
pub fn probe() -> Layers {
    let works = |plan: Plan| spawn::spawn(&plan).is_ok_and(|mut child| child.wait().status == 0);
    let mut layers = Layers::default();
    if let Ok(Some(ruleset)) = landlock::ruleset(&landlock::Paths::default()) {
        let plan = Plan { landlock: Some((ruleset, 0)), restrict: true, ..Plan::default() };
        layers.landlock_abi = if works(plan) { landlock::abi() } else { 0 };
    }
    if let Ok(filters) = seccomp::filters(seccomp::Role::Alone, true) {
        layers.seccomp = !filters.is_empty() && works(Plan { filters, ..Plan::default() });
    }
    layers.rlimits =
        works(Plan { limits: vec![(libc::RLIMIT_AS, 1 << 30), (libc::RLIMIT_CORE, 0)], ..Plan::default() });
    let isolated = |extra| {
        let tmpfs = scratch::any_tmpfs();
        works(Plan { namespaces: NAMESPACES | extra, tmpfs, drop_capabilities: true, ..Plan::default() })
    };
    layers.user_namespace = isolated(libc::CLONE_NEWUSER);
    layers.namespaces = layers.user_namespace || isolated(0);
    layers.cgroups = cgroup::works();
    layers
}
