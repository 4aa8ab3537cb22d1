//! Confined node processes: the candidate, new for each program, and the examiner, which lives on.

use std::{
    ffi::CString,
    fs::File,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use super::frames::{Incoming, Outgoing};
use crate::quality::sandbox::{
    Interpreter, Layers, Limits, SandboxError,
    landlock::{self, Paths},
    scratch::Scratch,
    seccomp::{self, Profile},
    spawn::{self, Child, EXEC_FD, Plan},
};

const VALUES: &str = include_str!("values.js");
const CANDIDATE: &str = include_str!("candidate.js");
const EXAMINER: &str = include_str!("examiner.js");

/// Address space that V8 reserves without using it, on top of what a program may use.
const RESERVED_BYTES: u64 = 2 << 30;
/// Writable memory of node itself: heap pages, thread stacks, its binary's data.
const OWN_BYTES: u64 = 256 << 20;

/// The process of the judged code.
#[derive(Debug)]
pub(super) struct Candidate {
    pub child: Child,
    pub requests: Outgoing,
    pub replies: Incoming,
    pub output: Incoming,
}

/// The process of the tests.
#[derive(Debug)]
pub(super) struct Examiner {
    pub child: Child,
    pub replies: Outgoing,
    pub requests: Incoming,
    pub control: Outgoing,
    pub verdicts: Incoming,
    /// Programs examined.
    pub used: u32,
}

/// What both kinds of process are started from.
#[derive(Debug)]
pub(super) struct Launcher<'a> {
    pub interpreter: &'a Interpreter,
    pub layers: &'a Layers,
    pub limits: &'a Limits,
}

impl Launcher<'_> {
    /// Starts a candidate; it says `"ready"` when it is warm.
    pub(super) fn candidate(&self, scratch: &Scratch) -> Result<Candidate, SandboxError> {
        let (theirs_requests, requests) = pipe()?;
        let (replies, theirs_replies) = pipe()?;
        let (output, printing) = pipe()?;
        let printing_too = printing.try_clone().map_err(|e| SandboxError::broken("copy a pipe", e))?;
        let descriptors = vec![
            null()?,
            printing.into(),
            printing_too.into(),
            theirs_requests.into(),
            theirs_replies.into(),
        ];
        let child = self.start(CANDIDATE, descriptors, Some(scratch), self.limits.memory_bytes)?;
        Ok(Candidate {
            child,
            requests: outgoing(requests)?,
            replies: incoming(replies)?,
            output: incoming(output)?,
        })
    }

    /// Starts an examiner; it writes `{}` on the verdict pipe when it is warm.
    pub(super) fn examiner(&self) -> Result<Examiner, SandboxError> {
        let (theirs_replies, replies) = pipe()?;
        let (requests, theirs_requests) = pipe()?;
        let (theirs_control, control) = pipe()?;
        let (verdicts, theirs_verdicts) = pipe()?;
        let descriptors = vec![
            null()?,
            null()?,
            null()?,
            theirs_replies.into(),
            theirs_requests.into(),
            theirs_control.into(),
            theirs_verdicts.into(),
        ];
        let child = self.start(EXAMINER, descriptors, None, self.limits.memory_bytes.max(512 << 20))?;
        Ok(Examiner {
            child,
            replies: outgoing(replies)?,
            requests: incoming(requests)?,
            control: outgoing(control)?,
            verdicts: incoming(verdicts)?,
            used: 0,
        })
    }

    fn start(
        &self,
        script: &str,
        descriptors: Vec<OwnedFd>,
        scratch: Option<&Scratch>,
        memory_bytes: u64,
    ) -> Result<Child, SandboxError> {
        let broken = |step| move |error: io::Error| SandboxError::broken(step, error);
        let text = |text: &str| CString::new(text).map_err(|e| SandboxError::broken("pass an argument", e));
        let ruleset = if self.layers.landlock_abi > 0 {
            landlock::ruleset(&paths(&self.interpreter.path))
                .map_err(|e| SandboxError::broken("make landlock rules", e))?
        } else {
            None
        };
        let filters = if self.layers.seccomp {
            let profile = Profile { exec_fd: Some(EXEC_FD), read_only: ruleset.is_none() };
            seccomp::filters(profile).map_err(|e| SandboxError::broken("make seccomp filters", e))?
        } else {
            Vec::new()
        };
        // Half of the memory is for the heap; buffers outside it are bounded by RLIMIT_DATA.
        let heap_mb = format!("--max-old-space-size={}", (memory_bytes >> 20).max(64) / 2);
        let arguments = [&self.interpreter.path.to_string_lossy(), heap_mb.as_str(), "-e", script];
        let plan = Plan {
            program: Some(
                spawn::open_program(&self.interpreter.path).map_err(broken("open the interpreter"))?,
            ),
            arguments: arguments.iter().map(|a| text(a)).collect::<Result<_, _>>()?,
            environment: [
                "LANG=C.UTF-8",
                "HOME=/nonexistent",
                "OPENSSL_CONF=/dev/null",
                "UV_THREADPOOL_SIZE=1",
                &format!("AUTOTUNE_VALUES={VALUES}"),
            ]
            .iter()
            .map(|variable| text(variable))
            .collect::<Result<_, _>>()?,
            descriptors,
            namespaces: self.layers.namespace_flags(),
            dies_with_parent: true,
            tmpfs: scratch.and_then(Scratch::tmpfs),
            folder: scratch.map(Scratch::folder),
            limits: vec![
                (libc::RLIMIT_CORE, 0),
                (libc::RLIMIT_MSGQUEUE, 0),
                (libc::RLIMIT_MEMLOCK, 0),
                (libc::RLIMIT_AS, memory_bytes + RESERVED_BYTES),
                (libc::RLIMIT_DATA, memory_bytes + OWN_BYTES),
                (libc::RLIMIT_FSIZE, self.limits.file_bytes),
                // Node opens some descriptors of its own.
                (libc::RLIMIT_NOFILE, self.limits.open_files.max(64) + 64),
            ],
            drop_capabilities: true,
            landlock: ruleset.map(|fd| (fd, landlock::scratch_rights())),
            restrict: true,
            filters,
        };
        spawn::spawn(&plan).map_err(|e| SandboxError::broken("start node", e))
    }
}

fn pipe() -> Result<(File, File), SandboxError> {
    spawn::pipe().map_err(|e| SandboxError::broken("make a pipe", e))
}

fn incoming(file: File) -> Result<Incoming, SandboxError> {
    Incoming::new(file).map_err(|e| SandboxError::broken("set a pipe up", e))
}

fn outgoing(file: File) -> Result<Outgoing, SandboxError> {
    Outgoing::new(file).map_err(|e| SandboxError::broken("set a pipe up", e))
}

fn null() -> Result<OwnedFd, SandboxError> {
    let file = File::options().read(true).write(true).open("/dev/null");
    Ok(file.map_err(|e| SandboxError::broken("open /dev/null", e))?.into())
}

/// What node may read: shared libraries and devices. It executes itself and the dynamic loader, once.
fn paths(node: &Path) -> Paths {
    let shared = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/dev/urandom"];
    let beside = node.parent().and_then(Path::parent).map(|prefix| prefix.join("lib"));
    let loaders = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1", "/lib/ld-musl-x86_64.so.1"];
    Paths {
        read: shared.iter().map(PathBuf::from).chain(beside).collect(),
        execute: loaders.iter().map(PathBuf::from).chain([node.to_owned()]).collect(),
        devices: vec![PathBuf::from("/dev/null")],
    }
}
