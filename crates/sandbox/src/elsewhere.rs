//! Systems other than Linux: they have none of the layers, so nothing untrusted is run.

use std::sync::Arc;

use super::{Interpreter, Judge, Judgement, Layers, SandboxError, Settings};
use crate::{Program, TaskLanguage};

/// Judges nothing on this system.
#[derive(Debug)]
pub struct Sandbox {
    settings: Settings,
}

/// The layers of this system: none.
#[must_use]
pub fn probe() -> Layers {
    Layers::default()
}

fn refused() -> SandboxError {
    SandboxError::Unprotected {
        missing: "Linux, whose landlock, seccomp and rlimits confine it".to_owned(),
        remedy: "grade by CodeBLEU here, or judge the samples on Linux with `autotune score passk`",
    }
}

impl Sandbox {
    /// Refuses.
    ///
    /// # Errors
    /// Always.
    pub fn new(settings: Settings) -> Result<Self, SandboxError> {
        Self::with_layers(settings, probe())
    }

    /// Refuses.
    ///
    /// # Errors
    /// Always.
    pub fn with_layers(_: Settings, _: Layers) -> Result<Self, SandboxError> {
        Err(refused())
    }

    /// The protections in use.
    #[must_use]
    pub fn layers(&self) -> Layers {
        probe()
    }

    /// The settings in use.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.settings
    }

    /// None.
    ///
    /// # Errors
    /// Always.
    pub fn interpreter(&mut self, _: TaskLanguage) -> Result<Arc<Interpreter>, SandboxError> {
        Err(refused())
    }
}

impl Judge for Sandbox {
    fn judge(&mut self, _: &[Program]) -> Result<Vec<Judgement>, SandboxError> {
        Err(refused())
    }
}
