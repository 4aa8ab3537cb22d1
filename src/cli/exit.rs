//! The exit codes, one documented list.

use std::process::ExitCode;

/// How the command ended. The numbers are part of the interface; `autotune --help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All done.
    Success = 0,
    /// A bug or an unforeseen failure.
    Failure = 1,
    /// The command line or an input file is wrong.
    Usage = 2,
    /// Nothing fits the budget or the constraints.
    Infeasible = 3,
    /// The machine lacks something: disk, permission, a library, a sandbox.
    Environment = 4,
    /// Every trial failed.
    NoResult = 5,
    /// Paused by Ctrl-C or a signal; `autotune resume` goes on.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// An expected failure: a text for the user and the code to end with. Put it into an `anyhow::Error` anywhere below the command.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Expected {
    /// How to end.
    pub exit: Exit,
    /// What to say: the input, what was found, what to do.
    pub text: String,
}

impl Expected {
    /// A wrong command line or input file.
    pub fn usage(text: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, text: text.into() }
    }

    /// Something that the machine lacks.
    pub fn environment(text: impl Into<String>) -> Self {
        Self { exit: Exit::Environment, text: text.into() }
    }
}
