//! The worker of the torch engine: the only program that loads libtorch. `autotune` starts it for the jobs that need it.

use std::io::Write;
use std::process::ExitCode;

use autotune_engine::{Engine, EngineError, EngineKind};
use autotune_torch::Torch;

fn open(kind: EngineKind) -> Result<Box<dyn Engine>, EngineError> {
    match kind {
        EngineKind::Torch => Ok(Box::new(Torch)),
        other => other.open(),
    }
}

fn main() -> ExitCode {
    // `autotune-torch device cuda:0`: is it there?
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [word, device] = args.as_slice()
        && word == "device"
    {
        let found = device.parse().and_then(autotune_torch::device);
        return match found {
            Ok(_) => ExitCode::SUCCESS,
            Err(why) => {
                let _ = writeln!(std::io::stderr(), "{why}");
                ExitCode::FAILURE
            }
        };
    }
    if autotune_worker::serve::run(open, Some(&Torch)) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
