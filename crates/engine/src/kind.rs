//! The engines by name, and where those lie that are programs of their own.

use std::path::Path;

use serde::{Deserialize, Serialize};

#[cfg(feature = "llama")]
use super::llama;
use super::{Device, Engine, EngineError, mock};

/// Which engine to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EngineKind {
    /// The embedded llama.cpp.
    #[serde(rename = "llama.cpp")]
    LlamaCpp,
    /// libtorch; its worker is a program of its own.
    #[serde(rename = "torch")]
    Torch,
    /// Deterministic and scripted, for tests.
    #[serde(rename = "mock")]
    Mock,
}

/// The name of the program that runs the torch engine; it lies beside `autotune`.
pub const TORCH_WORKER: &str = "autotune-torch";

/// Opens engines: [`EngineKind::open`], or what knows one more.
pub type OpenEngine = fn(EngineKind) -> Result<Box<dyn Engine>, EngineError>;

impl EngineKind {
    /// The name that the command line and the store use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            EngineKind::LlamaCpp => "llama.cpp",
            EngineKind::Torch => "torch",
            EngineKind::Mock => "mock",
        }
    }

    /// The engine itself. Torch is not opened here, since whoever refers to it loads libtorch: see [`TORCH_WORKER`].
    ///
    /// # Errors
    /// The engine was not compiled in, or not into this program.
    pub fn open(self) -> Result<Box<dyn Engine>, EngineError> {
        match self {
            #[cfg(feature = "llama")]
            EngineKind::LlamaCpp => Ok(Box::new(llama::LlamaCpp::new())),
            #[cfg(not(feature = "llama"))]
            EngineKind::LlamaCpp => Err(EngineError::NotCompiled { engine: "llama.cpp", feature: "llama" }),
            EngineKind::Torch => Err(EngineError::Elsewhere),
            EngineKind::Mock => Ok(Box::new(mock::Mock)),
        }
    }
}

/// What the torch engine is built for, as its version tells it.
pub const LIBTORCH: &str = "libtorch 2.11";

impl EngineKind {
    /// The library's version and what it was built for, without loading it where it is another program's.
    ///
    /// # Errors
    /// The engine was not compiled in, or its program is not beside this one.
    pub fn version(self) -> Result<String, EngineError> {
        if self != EngineKind::Torch {
            return self.open().map(|engine| engine.version());
        }
        let here = std::env::current_exe().unwrap_or_default();
        match torch_worker(&here) {
            worker if worker.is_file() => Ok(LIBTORCH.to_owned()),
            worker => Err(EngineError::NoWorker { path: worker.display().to_string() }),
        }
    }
}

/// The torch engine's program, which lies beside `program`.
#[must_use]
pub fn torch_worker(program: &Path) -> std::path::PathBuf {
    program.with_file_name(format!("{TORCH_WORKER}{}", std::env::consts::EXE_SUFFIX))
}

/// Whether the torch engine finds a device; its program is asked.
///
/// # Errors
/// Why it does not, in words for the user.
pub fn find_device(device: Device) -> Result<(), String> {
    if device == Device::Cpu {
        return Ok(());
    }
    EngineKind::Torch.version().map_err(|e| e.to_string())?;
    let worker = torch_worker(&std::env::current_exe().map_err(|e| e.to_string())?);
    let asked = std::process::Command::new(worker).args(["device", &device.to_string()]).output();
    match asked.map_err(|e| e.to_string())? {
        found if found.status.success() => Ok(()),
        missing => Err(String::from_utf8_lossy(&missing.stderr).trim().to_owned()),
    }
}
