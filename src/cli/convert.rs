//! `autotune convert`: a GGUF file to a Hugging Face model directory, and back.

use std::path::Path;

use super::args::{ConvertArgs, FloatType};
use super::printer::Printer;
use crate::compress::convert::{ConvertError, convert};
use crate::engine::EngineKind;
use crate::exit::{Exit, Expected};
use crate::model::GgmlType;
use crate::tuner::preflight;
use crate::units::Bytes;

/// Loads a GGUF that was made as llama.cpp will load it; one that it refuses is removed.
fn check(made: &Path, printer: &mut Printer) -> anyhow::Result<()> {
    if cfg!(not(feature = "llama")) {
        return Ok(());
    }
    let found = preflight::load(EngineKind::LlamaCpp, made, false, printer);
    if found.is_err() {
        // Nothing that cannot be run is handed over; what refuses to go is named by the error.
        let _ = std::fs::remove_file(made);
    }
    found.map(|_| ())
}

/// Converts a checkpoint.
///
/// # Errors
/// A source that is none or has no counterpart, or a disk that refuses.
pub fn run(args: &ConvertArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let ty = args.dtype.map(|t| match t {
        FloatType::F32 => GgmlType::F32,
        FloatType::F16 => GgmlType::F16,
        FloatType::Bf16 => GgmlType::Bf16,
    });
    let done = convert(&args.model, &args.out, ty).map_err(|e| match e {
        ConvertError::Write { .. } => Expected::environment(e.to_string()),
        e => Expected::usage(e.to_string()),
    })?;
    for remark in &done.remarks {
        printer.remark(remark);
    }
    if done.path.is_file() {
        check(&done.path, printer)?;
    }
    if done.dequantized > 0 {
        printer.warn(&format!(
            "{} tensors were quantized: their floats are the rounded ones, not those that the model was trained with",
            done.dequantized
        ));
    }
    printer.remark(&format!("{} tensors, {} of weights", done.tensors, Bytes(done.bytes)));
    printer.data(&done.path.display().to_string());
    Ok(Exit::Success)
}
