//! llama.cpp through its C interface (crate `llama-cpp-sys-2`), linked statically.
#![allow(unsafe_code)]

pub mod activations;
mod inspect;
pub(super) mod log;
mod session;

use std::ffi::CStr;
use std::path::Path;
use std::sync::Once;

use llama_cpp_sys_2 as ffi;

use super::{Engine, EngineError, Inspection, RunConfig, Session};

static BACKEND: Once = Once::new();

/// The embedded llama.cpp.
#[derive(Debug, Clone, Copy)]
pub struct LlamaCpp(());

impl LlamaCpp {
    /// Initialises the library once per process and silences its log (the last errors are kept for error texts).
    #[must_use]
    pub fn new() -> Self {
        BACKEND.call_once(|| {
            log::install();
            // SAFETY: called once, before any other call of the library.
            unsafe { ffi::llama_backend_init() };
        });
        Self(())
    }
}

impl Default for LlamaCpp {
    fn default() -> Self {
        Self::new()
    }
}

impl Engine for LlamaCpp {
    fn name(&self) -> &'static str {
        "llama.cpp"
    }

    fn version(&self) -> String {
        // SAFETY: both return static, NUL-terminated strings.
        let (version, system) =
            unsafe { (CStr::from_ptr(ffi::llama_version()), CStr::from_ptr(ffi::llama_print_system_info())) };
        format!(
            "{} ({})",
            version.to_string_lossy(),
            system.to_string_lossy().trim().trim_end_matches('|').trim()
        )
    }

    fn offloads(&self) -> bool {
        // SAFETY: asks which devices the library has.
        unsafe { ffi::llama_supports_gpu_offload() }
    }

    fn load(&self, artifact: &Path, run: &RunConfig) -> Result<Box<dyn Session>, EngineError> {
        Ok(Box::new(session::LlamaSession::load(artifact, run)?))
    }

    fn inspect(&self, artifact: &Path, caches: bool) -> Result<Inspection, EngineError> {
        inspect::inspect(artifact, caches)
    }
}
