//! Whole files quantized by llama.cpp itself (`llama_model_quantize`): the presets that people use.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use llama_cpp_sys_2 as ffi;

use super::llama::{LlamaCpp, log};
use autotune_core::atomic_file::{publish, temp_beside};

/// Most tensor data that is held at once, in bytes; larger tensors are done in slabs of rows.
const MAX_BUFFER: usize = 128 << 20;

/// Why llama.cpp made no file.
#[derive(Debug, thiserror::Error)]
pub enum QuantizeError {
    /// Input and output are the same file, which the library would destroy while reading it.
    #[error("{} cannot be quantized onto itself; name another output", .0.display())]
    SameFile(PathBuf),
    /// A path that the library cannot take.
    #[error("the path {} holds a NUL byte", .0.display())]
    Path(PathBuf),
    /// The library failed.
    #[error("llama.cpp failed to quantize {}: {detail}", input.display())]
    Library {
        /// The source.
        input: PathBuf,
        /// Its last words.
        detail: String,
    },
    /// The result could not be put in its place.
    #[error("failed to write {}: {cause}", path.display())]
    Write {
        /// The output.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
}

/// Quantizes `input` to the file type `ftype` (a number of `enum llama_ftype`) as `llama-quantize` does without an importance matrix.
/// The output appears under its name only when complete.
///
/// # Errors
/// Input and output are one file, the library refuses the model, or the output cannot be written.
pub fn quantize_file(input: &Path, output: &Path, ftype: u32, threads: usize) -> Result<(), QuantizeError> {
    if let (Ok(a), Ok(b)) = (input.canonicalize(), output.canonicalize())
        && a == b
    {
        return Err(QuantizeError::SameFile(output.to_owned()));
    }
    let temp = temp_beside(output);
    let result = quantize_to(input, &temp, ftype, threads).and_then(|()| {
        publish(&temp, output).map_err(|cause| QuantizeError::Write { path: output.to_owned(), cause })
    });
    if result.is_err() {
        // The library leaves a broken file behind when it fails.
        let _ = fs::remove_file(&temp);
    }
    result
}

fn quantize_to(input: &Path, output: &Path, ftype: u32, threads: usize) -> Result<(), QuantizeError> {
    let c_path = |p: &Path| {
        CString::new(p.as_os_str().as_encoded_bytes()).map_err(|_| QuantizeError::Path(p.to_owned()))
    };
    let (from, to) = (c_path(input)?, c_path(output)?);
    let _backend = LlamaCpp::new();
    log::clear();
    // SAFETY: the paths are NUL-terminated and live through the call; the parameters are the library's own with plain numbers
    // changed. C++ exceptions are caught inside the function.
    let code = unsafe {
        let mut params = ffi::llama_model_quantize_default_params();
        params.ftype = ftype;
        params.nthread = i32::try_from(threads.max(1)).unwrap_or(1);
        params.max_buf_size = MAX_BUFFER;
        ffi::llama_model_quantize(from.as_ptr(), to.as_ptr(), &params)
    };
    match code {
        0 => Ok(()),
        _ => Err(QuantizeError::Library { input: input.to_owned(), detail: log::last() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use autotune_model::synthetic::Shapes;
    use autotune_model::{ArchKind, GgmlType};

    #[test]
    fn failures_leave_neither_harm_nor_rubbish() {
        let dir = tempfile::tempdir().unwrap();
        let input = dir.path().join("m.gguf");
        Shapes::tiny(ArchKind::Llama).write(&input, GgmlType::F16, 3, None).unwrap();
        let before = fs::read(&input).unwrap();
        assert!(matches!(quantize_file(&input, &input, 7, 1), Err(QuantizeError::SameFile(_))));
        let out = dir.path().join("o.gguf");
        let e = quantize_file(&input, &out, 999, 1).unwrap_err();
        assert!(e.to_string().contains("999"), "{e}");
        assert_eq!(fs::read(&input).unwrap(), before);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let unwritable = dir.path().join("none/o.gguf");
        assert!(quantize_file(&input, &unwritable, 7, 1).is_err());
    }
}
