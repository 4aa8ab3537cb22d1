//! Which protections this machine offers, found by using them once in a child process.

use super::{
    Layers, cgroup, landlock, scratch, seccomp,
    spawn::{self, Plan},
};

/// Namespaces that separate a program from the machine; any set that the kernel grants is an addition to the other layers.
const NAMESPACES: libc::c_int =
    libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS;

impl Layers {
    /// The `CLONE_NEW*` flags to start processes with.
    pub(super) fn namespace_flags(&self) -> libc::c_int {
        match (self.namespaces, self.user_namespace) {
            (false, _) => 0,
            (true, false) => NAMESPACES,
            (true, true) => NAMESPACES | libc::CLONE_NEWUSER,
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
