//! A folder for what a single command makes and needs no longer.

use std::path::PathBuf;

use crate::exit::Expected;

/// A folder that goes when it is dropped.
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    /// An empty folder for a command, under the system's folder for such.
    ///
    /// # Errors
    /// The machine refuses it.
    pub(super) fn new(command: &str) -> Result<Self, Expected> {
        let path = std::env::temp_dir().join(format!("autotune-{command}-{}", std::process::id()));
        std::fs::create_dir_all(&path)
            .map_err(|e| Expected::environment(format!("failed to create {}: {e}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Left behind, it is the system's to clean.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
