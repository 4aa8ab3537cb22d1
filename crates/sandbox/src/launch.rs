//! What all confined interpreters have in common: the layers around them.

use std::{ffi::CString, fs::File, io, os::fd::OwnedFd};

use super::{
    Interpreter, Layers, SandboxError,
    cgroup::Group,
    child::Child,
    landlock::{self, Paths},
    scratch::Scratch,
    seccomp::{self, Role},
    spawn::{self, Plan},
};

/// Threads that a program may have where the kernel can count them: node has eleven of its own.
pub(super) const THREADS: u64 = 128;

/// An interpreter to be started.
pub(super) struct Launch<'a> {
    pub interpreter: &'a Interpreter,
    pub layers: &'a Layers,
    pub arguments: &'a [&'a str],
    pub environment: &'a [&'a str],
    /// Descriptors 0, 1, 2, ...; of a server the landlock ruleset follows, where there is one.
    pub descriptors: Vec<OwnedFd>,
    pub paths: Paths,
    pub role: Role,
    /// The working folder.
    pub scratch: Option<&'a Scratch>,
    /// Limits besides those that every process has.
    pub limits: Vec<(libc::__rlimit_resource_t, u64)>,
    pub group: Option<&'a Group>,
}

impl Launch<'_> {
    /// Starts it with every layer that this machine has.
    pub(super) fn start(self) -> Result<Child, SandboxError> {
        let ruleset = if self.layers.landlock_abi > 0 {
            landlock::ruleset(&self.paths).map_err(|e| SandboxError::broken("make landlock rules", e))?
        } else {
            None
        };
        let filters = if self.layers.seccomp {
            seccomp::filters(self.role, ruleset.is_none())
                .map_err(|e| SandboxError::broken("make seccomp filters", e))?
        } else {
            Vec::new()
        };
        let program = spawn::open_program(&self.interpreter.path);
        let name = self.interpreter.path.to_string_lossy();
        let mut limits = vec![(libc::RLIMIT_CORE, 0), (libc::RLIMIT_MSGQUEUE, 0), (libc::RLIMIT_MEMLOCK, 0)];
        if self.layers.user_namespace {
            // Counted within the namespace, so the user's other processes do not matter.
            limits.push((libc::RLIMIT_NPROC, THREADS));
        }
        let plan = Plan {
            program: Some(program.map_err(|e| SandboxError::broken("open the interpreter", e))?),
            arguments: texts(&[&[name.as_ref()], self.arguments].concat())?,
            environment: texts(self.environment)?,
            descriptors: self.descriptors,
            namespaces: self.layers.namespace_flags(),
            // A server ends by itself, after it has cleaned up, when its owner is gone.
            dies_with_parent: self.role == Role::Alone,
            tmpfs: self.scratch.and_then(Scratch::tmpfs),
            folder: self.scratch.map(Scratch::folder),
            limits: [limits, self.limits].concat(),
            drop_capabilities: true,
            landlock: ruleset.map(|fd| (fd, landlock::scratch_rights())),
            restrict: self.role == Role::Alone,
            filters,
        };
        // The plan holds our copies of the child's descriptors: with them open its end would never be seen.
        let child = spawn::spawn(&plan).map_err(|e| SandboxError::broken("start an interpreter", e))?;
        if let Some(group) = self.group {
            // It has run nothing of ours yet. A group that is full or gone is no reason to stop: it is an addition.
            group.add(child.pid());
        }
        Ok(child)
    }
}

fn texts(texts: &[&str]) -> Result<Vec<CString>, SandboxError> {
    let text = |text: &&str| CString::new(*text).map_err(|e| SandboxError::broken("pass an argument", e));
    texts.iter().map(text).collect()
}

/// A pipe: the reading and the writing end.
pub(super) fn pipe() -> Result<(File, File), SandboxError> {
    spawn::pipe().map_err(|e| SandboxError::broken("make a pipe", e))
}

/// The device that swallows everything.
pub(super) fn null() -> Result<OwnedFd, SandboxError> {
    let file: io::Result<File> = File::options().read(true).write(true).open("/dev/null");
    Ok(file.map_err(|e| SandboxError::broken("open /dev/null", e))?.into())
}
