//! Which protections a machine has, and whether they are enough.

use serde::{Deserialize, Serialize};

use super::{Mode, SandboxError};

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
