//! Runs model-written code and says whether its tests passed: nothing that the code does can forge the answer or reach the machine.
//!
//! Two processes judge a program. The *candidate* loads the solution and answers calls; the *examiner* runs the tests, which call the
//! candidate over a pipe and compare values in their own memory. The candidate never holds the tests, the expected values, or the
//! random token that the examiner writes to a private descriptor after the last test returned; only that token means
//! [`Verdict::Passed`]. `docs/src/explanation/sandbox.md` has the threats, the layers and the limits.
//!
//! Linux only; on other systems [`Sandbox::new`] refuses.

#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
mod interpreter;
mod layers;
mod program;

#[cfg(target_os = "linux")]
mod cgroup;
#[cfg(target_os = "linux")]
mod child;
#[cfg(target_os = "linux")]
mod landlock;
#[cfg(target_os = "linux")]
mod launch;
#[cfg(target_os = "linux")]
mod node;
#[cfg(target_os = "linux")]
mod orphans;
#[cfg(target_os = "linux")]
mod pool;
#[cfg(target_os = "linux")]
mod probe;
#[cfg(target_os = "linux")]
mod python;
#[cfg(target_os = "linux")]
mod scratch;
#[cfg(target_os = "linux")]
mod seccomp;
#[cfg(target_os = "linux")]
mod spawn;
#[cfg(target_os = "linux")]
mod token;
#[cfg(target_os = "linux")]
mod typescript;
#[cfg(target_os = "linux")]
mod verdict;
#[cfg(target_os = "linux")]
mod worker;

#[cfg(not(target_os = "linux"))]
mod elsewhere;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use interpreter::{Interpreter, find as find_interpreter};
pub use layers::Layers;
pub use program::{Program, TaskLanguage};

#[cfg(target_os = "linux")]
pub use {pool::Sandbox, probe::probe};

#[cfg(not(target_os = "linux"))]
pub use elsewhere::{Sandbox, probe};

/// What became of a program. Only [`Verdict::Passed`] counts as solved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All tests returned.
    Passed,
    /// A test failed, or the solution raised an exception.
    Failed,
    /// Out of time.
    Timeout,
    /// Out of memory.
    MemoryExceeded,
    /// Printed more than it may.
    OutputExceeded,
    /// Tried what the sandbox refuses, and failed by it.
    Denied,
    /// Its process ended by itself or by a signal before the tests did.
    Crashed,
    /// It is no program of its language.
    SyntaxError,
}

impl Verdict {
    /// Whether the task counts as solved.
    #[must_use]
    pub fn is_pass(self) -> bool {
        self == Self::Passed
    }
}

/// The result for one program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// What became of it.
    pub verdict: Verdict,
    /// Why, for people: the failing test's line, the exception, the limit. Partly written by the judged code: escape it.
    pub detail: String,
    /// CPU time of all its processes, in milliseconds.
    pub cpu_ms: f64,
    /// Wall time, in milliseconds.
    pub wall_ms: f64,
}

/// How much a program may use.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// CPU time of the judged code and its tests together.
    pub cpu: Duration,
    /// Wall time: what sleeps or waits ends here. On a busy machine CPU time is the fairer limit, so this one is wide.
    pub wall: Duration,
    /// Address space of a Python process, heap of a JavaScript one, in bytes.
    pub memory_bytes: u64,
    /// Bytes that it may print.
    pub output_bytes: u64,
    /// Largest file that it may write, in bytes.
    pub file_bytes: u64,
    /// Files that it may have in its scratch folder.
    pub files: u64,
    /// Descriptors that it may have open.
    pub open_files: u64,
}

impl Limits {
    /// The default limits with another CPU time; the wall time is three times that and two seconds.
    #[must_use]
    pub fn with_timeout(cpu: Duration) -> Self {
        Self { cpu, wall: cpu * 3 + Duration::from_secs(2), ..Self::default() }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cpu: Duration::from_secs(3),
            wall: Duration::from_secs(11),
            memory_bytes: 512 << 20,
            output_bytes: 4 << 20,
            file_bytes: 4 << 20,
            files: 64,
            open_files: 64,
        }
    }
}

/// How much protection is demanded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// All that this machine offers; an error when it offers none.
    #[default]
    Auto,
    /// An error without all of landlock, seccomp and rlimits.
    Strict,
    /// DANGEROUS: runs the code with what there is, be it nothing.
    Off,
}

/// How a [`Sandbox`] is set up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Demanded protection.
    pub mode: Mode,
    /// Limits of each program.
    pub limits: Limits,
    /// Programs at once; 0: as many as the processors that this process may use.
    pub jobs: usize,
}

/// Why programs could not be judged. What a program does is never an error, but a [`Verdict`].
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The machine does not protect itself enough for the mode.
    #[error("refused to run model-written code: this machine lacks {missing}; {remedy}")]
    Unprotected {
        /// The layers that are missing.
        missing: String,
        /// What to do.
        remedy: &'static str,
    },
    /// No interpreter for the language.
    #[error("no usable `{name}` for {language:?} tasks ({reason}); install it, or leave these tasks out")]
    NoInterpreter {
        /// The language of the tasks.
        language: TaskLanguage,
        /// The program looked for.
        name: &'static str,
        /// What was tried.
        reason: String,
    },
    /// A task whose language is not executed.
    #[error("{language:?} tasks are not executed; grade them by CodeBLEU and syntax")]
    NotExecuted {
        /// The language.
        language: TaskLanguage,
    },
    /// The sandbox itself failed: a bug or a broken machine.
    #[error("the sandbox failed to {step}: {reason}")]
    Broken {
        /// What it was doing.
        step: &'static str,
        /// What happened.
        reason: String,
    },
}

impl SandboxError {
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))]
    pub(crate) fn broken(step: &'static str, reason: impl std::fmt::Display) -> Self {
        Self::Broken { step, reason: reason.to_string() }
    }
}

/// Judges programs: the door of this room, so that a study runs in tests without an interpreter.
pub trait Judge {
    /// A judgement for each program, in their order.
    ///
    /// # Errors
    /// Nothing can be judged; a program's own failures are verdicts.
    fn judge(&mut self, programs: &[Program]) -> Result<Vec<Judgement>, SandboxError>;
}
