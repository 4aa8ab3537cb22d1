//! The worker of the torch engine: the only program that loads libtorch. `autotune` starts it for the jobs that need it.

mod engine;

use std::process::ExitCode;

use autotune::engine::{Engine, EngineError, EngineKind};
use engine::Torch;

fn open(kind: EngineKind) -> Result<Box<dyn Engine>, EngineError> {
    match kind {
        EngineKind::Torch => Ok(Box::new(Torch)),
        other => other.open(),
    }
}

fn main() -> ExitCode {
    if autotune::study::worker::run(open, Some(&Torch)) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
