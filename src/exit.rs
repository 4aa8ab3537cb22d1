//! The exit codes, one documented list.

use std::process::ExitCode;

use crate::store::StoreError;
use crate::study::{MachineFault, Unmet, Unusable};
use crate::worker::fault::is_machines;
use crate::worker::supervisor::SpawnError;

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
    /// A check of `validate` failed.
    Rejected = 6,
    /// Paused by Ctrl-C or a signal; `autotune resume` goes on.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

impl Exit {
    /// The code of an error: what [`Expected`] says, else what the causes below it tell.
    #[must_use]
    pub fn of(error: &anyhow::Error) -> Self {
        if let Some(expected) = error.downcast_ref::<Expected>() {
            return expected.exit;
        }
        for cause in error.chain() {
            if let Some(store) = cause.downcast_ref::<StoreError>() {
                return match (store.is_environment(), store.is_expected()) {
                    (true, _) => Exit::Environment,
                    (false, true) => Exit::Usage,
                    (false, false) => Exit::Failure,
                };
            }
            if cause.is::<Unusable>() {
                return Exit::Usage;
            }
            if cause.is::<Unmet>() {
                return Exit::Infeasible;
            }
            if matches!(cause.downcast_ref::<SpawnError>(), Some(SpawnError::Changed(_))) {
                return Exit::Usage;
            }
            if cause.is::<MachineFault>() || cause.is::<SpawnError>() {
                return Exit::Environment;
            }
        }
        let root: &(dyn std::error::Error + 'static) = error.as_ref();
        if is_machines(root) { Exit::Environment } else { Exit::Failure }
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

/// A store's error with its exit code: the machine's faults are told apart from the user's, and both from bugs.
#[must_use]
pub fn expected(error: StoreError) -> anyhow::Error {
    if !error.is_expected() {
        return error.into();
    }
    let exit = if error.is_environment() { Exit::Environment } else { Exit::Usage };
    Expected { exit, text: error.to_string() }.into()
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::Context;

    use super::*;

    #[test]
    fn the_cause_decides_the_code_however_deep_it_lies() {
        let full = || anyhow::Error::from(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(Exit::of(&full()), Exit::Environment);
        assert_eq!(Exit::of(&full().context("study 1 stopped").context("more")), Exit::Environment);
        let full: anyhow::Error = StoreError::DiskFull("x.db".into()).into();
        assert_eq!(Exit::of(&full.context("study 1 stopped")), Exit::Environment);
        assert_eq!(Exit::of(&StoreError::Missing("x.db".into()).into()), Exit::Usage);
        assert_eq!(Exit::of(&StoreError::Lost(3).into()), Exit::Failure);
        assert_eq!(Exit::of(&anyhow::anyhow!("a bug")), Exit::Failure);
        let said: anyhow::Result<()> = Err(Expected::usage("wrong").into());
        assert_eq!(Exit::of(&said.context("more").unwrap_err()), Exit::Usage);
    }
}
