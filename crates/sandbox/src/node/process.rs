//! Confined node processes: the candidate, new for each program, and the examiner, which lives on.

use std::{
    fs::File,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::Duration,
};

use super::EXAMINER_CPU;
use super::frames::{Incoming, Outgoing};
use crate::cgroup::Group;
use crate::child::Child;
use crate::landlock::Paths;
use crate::launch::Launch;
use crate::scratch::Scratch;
use crate::seccomp::Role;
use crate::{Interpreter, Layers, Limits, SandboxError, launch};

const VALUES: &str = include_str!("values.js");
const CANDIDATE: &str = include_str!("candidate.js");
const EXAMINER: &str = include_str!("examiner.js");

/// Address space that V8 reserves without using it, on top of what a program may use.
const RESERVED_BYTES: u64 = 2 << 30;
/// Writable memory of node itself: heap pages, thread stacks, its binary's data.
pub(super) const OWN_BYTES: u64 = 256 << 20;
/// CPU seconds that the kernel grants over the limit that this process enforces: node's start, and the last tick.
const SPARE_CPU_S: u64 = 3;

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
    pub group: Option<&'a Group>,
}

impl Launcher<'_> {
    /// Starts a candidate; it says `"ready"` when it is warm.
    pub(super) fn candidate(&self, scratch: &Scratch) -> Result<Candidate, SandboxError> {
        let (theirs_requests, requests) = launch::pipe()?;
        let (replies, theirs_replies) = launch::pipe()?;
        let (output, printing) = launch::pipe()?;
        let printing_too = printing.try_clone().map_err(|e| SandboxError::broken("copy a pipe", e))?;
        let descriptors = vec![
            launch::null()?,
            printing.into(),
            printing_too.into(),
            theirs_requests.into(),
            theirs_replies.into(),
        ];
        let (memory, cpu) = (self.limits.memory_bytes, Duration::ZERO);
        let child = self.start(CANDIDATE, descriptors, Some(scratch), memory, cpu)?;
        Ok(Candidate {
            child,
            requests: outgoing(requests)?,
            replies: incoming(replies)?,
            output: incoming(output)?,
        })
    }

    /// Starts an examiner; it writes `{}` on the verdict pipe when it is warm.
    pub(super) fn examiner(&self) -> Result<Examiner, SandboxError> {
        let (theirs_replies, replies) = launch::pipe()?;
        let (requests, theirs_requests) = launch::pipe()?;
        let (theirs_control, control) = launch::pipe()?;
        let (verdicts, theirs_verdicts) = launch::pipe()?;
        let descriptors = vec![
            launch::null()?,
            launch::null()?,
            launch::null()?,
            theirs_replies.into(),
            theirs_requests.into(),
            theirs_control.into(),
            theirs_verdicts.into(),
        ];
        let memory = self.limits.memory_bytes.max(512 << 20);
        let child = self.start(EXAMINER, descriptors, None, memory, EXAMINER_CPU)?;
        Ok(Examiner {
            child,
            replies: outgoing(replies)?,
            requests: incoming(requests)?,
            control: outgoing(control)?,
            verdicts: incoming(verdicts)?,
            used: 0,
        })
    }

    /// `earlier_cpu`: what it may have used for earlier programs.
    fn start(
        &self,
        script: &str,
        descriptors: Vec<OwnedFd>,
        scratch: Option<&Scratch>,
        memory_bytes: u64,
        earlier_cpu: Duration,
    ) -> Result<Child, SandboxError> {
        let cpu_s = (earlier_cpu + self.limits.cpu).as_secs_f64().ceil() as u64 + SPARE_CPU_S;
        // Half of the memory is for the heap; buffers outside it are bounded by RLIMIT_DATA.
        let heap_mb = format!("--max-old-space-size={}", (memory_bytes >> 20).max(64) / 2);
        let values = format!("AUTOTUNE_VALUES={VALUES}");
        Launch {
            interpreter: self.interpreter,
            layers: self.layers,
            arguments: &[&heap_mb, "-e", script],
            environment: &[
                "LANG=C.UTF-8",
                "HOME=/nonexistent",
                "OPENSSL_CONF=/dev/null",
                "UV_THREADPOOL_SIZE=1",
                &values,
            ],
            descriptors,
            paths: paths(&self.interpreter.path),
            role: Role::Alone,
            scratch,
            limits: vec![
                (libc::RLIMIT_AS, memory_bytes + RESERVED_BYTES),
                (libc::RLIMIT_DATA, memory_bytes + OWN_BYTES),
                // This process measures finer; the kernel's limit holds when this process is stopped.
                (libc::RLIMIT_CPU, cpu_s),
                (libc::RLIMIT_FSIZE, self.limits.file_bytes),
                // Node opens some descriptors of its own.
                (libc::RLIMIT_NOFILE, self.limits.open_files.max(64) + 64),
            ],
            group: self.group,
        }
        .start()
    }
}

fn incoming(file: File) -> Result<Incoming, SandboxError> {
    Incoming::new(file).map_err(|e| SandboxError::broken("set a pipe up", e))
}

fn outgoing(file: File) -> Result<Outgoing, SandboxError> {
    Outgoing::new(file).map_err(|e| SandboxError::broken("set a pipe up", e))
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
