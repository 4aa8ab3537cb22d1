//! libtorch as an engine: checkpoints as they were trained (Hugging Face folders, GGUF files of floats) and packed artifacts, on the
//! processor or a CUDA GPU.
//!
//! - `weights`, `linear`, `fbgemm`: tensors and the kernels that they are multiplied by.
//! - `attention`: the cache and attention over sequences of different lengths.
//! - `net`: the graph; `session`: the engine's door; `vocabulary`: text and tokens.
//! - `train`: gradients, and recovery by distillation.
//!
//! Whatever links code of libtorch loads libtorch, and `autotune` must not (docs/src/explanation/torch.md): only the program `autotune-torch` depends on this
//! crate.

mod attention;
mod error;
mod fbgemm;
mod linear;
mod net;
mod session;
mod train;
mod vocabulary;
mod weights;

use std::path::Path;

use autotune_engine::{Device, Engine, EngineError, LIBTORCH, RunConfig, Session};

/// libtorch.
#[derive(Clone, Copy, Debug, Default)]
pub struct Torch;

impl Engine for Torch {
    fn name(&self) -> &'static str {
        "torch"
    }

    fn version(&self) -> String {
        let cuda = if tch::Cuda::is_available() { "CUDA" } else { "CPU" };
        format!("{LIBTORCH} ({cuda})")
    }

    fn load(&self, artifact: &Path, run: &RunConfig) -> Result<Box<dyn Session>, EngineError> {
        let device = device(run.device)
            .map_err(|detail| EngineError::Load { path: artifact.display().to_string(), detail })?;
        Ok(Box::new(session::TorchSession::load(artifact, run, device)?))
    }
}

/// libtorch's device, where it is there.
///
/// # Errors
/// In words for the user: which device is missing, and what to do.
pub fn device(asked: Device) -> Result<tch::Device, String> {
    match asked {
        Device::Cpu => Ok(tch::Device::Cpu),
        Device::Cuda(n) => {
            let found = tch::Cuda::device_count();
            if i64::from(n) < found {
                return Ok(tch::Device::Cuda(n as usize));
            }
            Err(if tch::Cuda::is_available() {
                format!("there is no device {asked}; this machine has {found} CUDA devices")
            } else {
                format!(
                    "there is no device {asked}: this libtorch has no CUDA, or finds no GPU; set LIBTORCH or LD_LIBRARY_PATH to a CUDA \
                     libtorch 2.11, or use --device cpu"
                )
            })
        }
    }
}
