//! The Python judge: a warm interpreter that forks a candidate for each program and an examiner for a run of them (`server.py`).

use std::{
    fs::File,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Duration,
};

use serde::Deserialize;
use serde_json::json;

use super::{
    Interpreter, Judgement, Layers, Limits, SandboxError,
    cgroup::Group,
    child::Child,
    landlock::Paths,
    launch::{self, Launch, THREADS},
    scratch::Scratch,
    seccomp::{self, Role},
    token::token,
    verdict::{self, Evidence, Limit, Report},
};
use crate::Program;

/// The server's parts, joined into one program: no file of ours needs to be found or read at run time.
const SOURCE: &str = concat!(
    include_str!("values.py"),
    "\n\n",
    include_str!("candidate.py"),
    "\n\n",
    include_str!("examiner.py"),
    "\n\n",
    include_str!("server.py"),
);

/// Imported before the first fork: what solutions and tests use most, so that no program pays for them. Not more: every page that the
/// server has is one to copy at a fork.
#[rustfmt::skip]
const PRELOADED: &[&str] = &[
    "bisect", "collections", "copy", "functools", "heapq", "itertools", "math", "operator", "random", "re", "string", "time", "typing",
];

/// All of it: nothing of the user's environment reaches the interpreter. A fixed hash seed makes the order of sets repeatable; names of
/// shared libraries are resolved at the start, not in each child anew.
#[rustfmt::skip]
const ENVIRONMENT: &[&str] = &[
    "LANG=C.UTF-8", "HOME=/nonexistent", "LD_BIND_NOW=1", "PYTHONHASHSEED=0", "PYTHONSAFEPATH=1", "PYTHONNOUSERSITE=1",
    // Numeric packages would start a thread for each processor, each with an arena of its own: a bare import would be over the memory limit.
    "OPENBLAS_NUM_THREADS=1", "OMP_NUM_THREADS=1", "MKL_NUM_THREADS=1",
];

/// Memory of the server and of two bare interpreters, in bytes.
const OWN_BYTES: u64 = 128 << 20;

/// Grace over a program's wall limit after which the server itself is taken for hung.
const GRACE: Duration = Duration::from_secs(20);

/// What the server says at the end of a program.
#[derive(Debug, Deserialize)]
struct End {
    reason: Option<Limit>,
    /// The candidate's wait status.
    status: i32,
    cpu_s: f64,
    wall_s: f64,
    output: String,
}

/// A running fork server. One program at a time.
#[derive(Debug)]
pub(super) struct PythonServer {
    control: UnixStream,
    verdicts: File,
    // Dropped, and so killed, before its group and its folder are removed.
    child: Child,
    _group: Option<Group>,
    _scratch: Scratch,
}

impl PythonServer {
    /// Starts the interpreter and waits until it is warm.
    pub(super) fn start(
        interpreter: &Interpreter,
        layers: &Layers,
        limits: &Limits,
    ) -> Result<Self, SandboxError> {
        let scratch = Scratch::new(layers, interpreter)?;
        let (control, theirs) =
            UnixStream::pair().map_err(|e| SandboxError::broken("make a socket pair", e))?;
        let (verdicts, verdicts_writing) = launch::pipe()?;
        let (mut errors, errors_writing) = launch::pipe()?;
        // The server, a candidate and an examiner.
        let group =
            layers.cgroups.then(|| Group::new(THREADS, 2 * limits.memory_bytes + OWN_BYTES)).flatten();
        let descriptors = vec![
            launch::null()?,
            launch::null()?,
            errors_writing.into(),
            theirs.into(),
            verdicts_writing.into(),
        ];
        let landlock_fd = (layers.landlock_abi > 0).then_some(descriptors.len());
        let child = Launch {
            interpreter,
            layers,
            arguments: &["-s", "-S", "-B", "-c", SOURCE],
            environment: ENVIRONMENT,
            descriptors,
            paths: paths(interpreter),
            role: Role::Server,
            scratch: Some(&scratch),
            limits: Vec::new(),
            group: group.as_ref(),
        }
        .start()?;
        let init = json!({
            "landlock_fd": landlock_fd,
            "landlock_restrict_self": libc::SYS_landlock_restrict_self,
            "filters": if layers.seccomp { inner_filters(landlock_fd.is_none())? } else { Vec::new() },
            "scratch": scratch.folder().to_string_lossy(),
            "writable": landlock_fd.is_some(),
            "preload": PRELOADED,
            "packages": interpreter.packages,
        });
        let mut server = Self { control, verdicts, child, _group: group, _scratch: scratch };
        server.set_timeout(GRACE)?;
        let ready = server.send(init.to_string().as_bytes()).and_then(|()| server.receive());
        if let Err(error) = ready {
            server.child.kill();
            let mut said = String::new();
            let _ = errors.read_to_string(&mut said);
            let reason = said.lines().last().map_or_else(|| error.to_string(), str::to_owned);
            return Err(SandboxError::broken("warm python up", reason));
        }
        Ok(server)
    }

    /// Judges one program. An error means that the server is unusable and must be replaced.
    pub(super) fn judge(&mut self, program: &Program, limits: &Limits) -> Result<Judgement, SandboxError> {
        self.set_timeout(limits.wall + GRACE)?;
        let token = token()?;
        let header = json!({
            "cpu_s": limits.cpu.as_secs_f64(),
            "wall_s": limits.wall.as_secs_f64(),
            "memory_bytes": limits.memory_bytes,
            "output_bytes": limits.output_bytes,
            "file_bytes": limits.file_bytes,
            "files": limits.files,
            "open_files": limits.open_files,
        });
        let task = json!({
            "token": token,
            "prelude": program.prelude,
            "setup": program.setup,
            "tests": program.tests,
            "entry_point": program.entry_point,
        });
        let lost = |error| SandboxError::broken("talk to the python server", error);
        self.send(header.to_string().as_bytes()).map_err(lost)?;
        self.send(program.solution.as_bytes()).map_err(lost)?;
        self.send(task.to_string().as_bytes()).map_err(lost)?;
        let end: End = serde_json::from_slice(&self.receive().map_err(lost)?)
            .map_err(|e| SandboxError::broken("understand the python server", e))?;
        let mut written = [0u8; 65536];
        let length = read_available(&mut self.verdicts, &mut written).map_err(lost)?;
        let written = String::from_utf8_lossy(&written[..length]);
        let mut lines = written.lines();
        // Without this line the tests' frame is still in the socket: the next program would read it.
        if lines.next() != Some("read") {
            return Err(SandboxError::broken(
                "run the tests",
                format!("the examiner ended early ({:?})", end.reason),
            ));
        }
        Ok(verdict::judge(Evidence {
            token: &token,
            report: lines.next().and_then(|line| serde_json::from_str::<Report>(line).ok()),
            limit: end.reason,
            status: end.status,
            output: end.output,
            cpu_ms: end.cpu_s * 1e3,
            wall_ms: end.wall_s * 1e3,
        }))
    }

    fn set_timeout(&self, timeout: Duration) -> Result<(), SandboxError> {
        self.control
            .set_read_timeout(Some(timeout))
            .and_then(|()| self.control.set_write_timeout(Some(timeout)))
            .map_err(|e| SandboxError::broken("set a timeout", e))
    }

    fn send(&mut self, data: &[u8]) -> std::io::Result<()> {
        let length = u32::try_from(data.len()).map_err(std::io::Error::other)?;
        self.control.write_all(&length.to_be_bytes())?;
        self.control.write_all(data)
    }

    fn receive(&mut self) -> std::io::Result<Vec<u8>> {
        let mut length = [0u8; 4];
        self.control.read_exact(&mut length)?;
        let mut data = vec![0u8; u32::from_be_bytes(length) as usize];
        self.control.read_exact(&mut data)?;
        Ok(data)
    }
}

/// The filters that each forked process installs, as the bytes of `struct sock_filter`.
fn inner_filters(read_only: bool) -> Result<Vec<String>, SandboxError> {
    let filters = seccomp::filters(Role::Forked, read_only)
        .map_err(|e| SandboxError::broken("make seccomp filters", e))?;
    let encode = |filter: &seccompiler::BpfProgram| {
        let bytes: Vec<u8> = filter
            .iter()
            .flat_map(|i| {
                let [a, b] = i.code.to_ne_bytes();
                let [c, d, e, f] = i.k.to_ne_bytes();
                [a, b, i.jt, i.jf, c, d, e, f]
            })
            .collect();
        autotune_core::hex::encode(bytes)
    };
    Ok(filters.iter().map(encode).collect())
}

/// Reads what is in a pipe now, without waiting for more.
fn read_available(pipe: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    use std::os::fd::AsFd;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    let ready = poll(&mut [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO)?;
    if ready == 0 { Ok(0) } else { pipe.read(buffer) }
}

/// What judged Python code may read: the standard library, and the shared libraries that its extension modules load.
fn paths(interpreter: &Interpreter) -> Paths {
    let shared = [
        "/lib",
        "/lib64",
        "/usr/lib",
        "/usr/lib64",
        "/etc/ld.so.cache",
        "/usr/share/zoneinfo",
        "/dev/urandom",
    ];
    Paths {
        read: interpreter
            .library
            .iter()
            .chain(&interpreter.packages)
            .cloned()
            .chain(shared.iter().map(PathBuf::from))
            .collect(),
        execute: Vec::new(),
        devices: vec![PathBuf::from("/dev/null")],
    }
}
