//! `autotune convert`: a GGUF file to a folder of Hugging Face, and back.

use super::args::{ConvertArgs, FloatType};
use super::exit::{Exit, Expected};
use super::printer::Printer;
use crate::compress::convert::{ConvertError, convert};
use crate::model::GgmlType;
use crate::units::Bytes;

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
