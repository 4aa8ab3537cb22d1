//! The library's log: kept out of the terminal, its last errors kept for error texts.

use std::ffi::{CStr, c_char, c_void};
use std::sync::Mutex;

use llama_cpp_sys_2 as ffi;

use crate::EngineBuffer;

/// How many lines of errors and warnings are kept.
const KEPT: usize = 8;

static LAST: Mutex<Vec<String>> = Mutex::new(Vec::new());
static BUFFERS: Mutex<Vec<EngineBuffer>> = Mutex::new(Vec::new());

unsafe extern "C" fn receive(level: ffi::ggml_log_level, text: *const c_char, _data: *mut c_void) {
    let told = [ffi::GGML_LOG_LEVEL_ERROR, ffi::GGML_LOG_LEVEL_WARN, ffi::GGML_LOG_LEVEL_INFO];
    if text.is_null() || !told.contains(&level) {
        return;
    }
    // SAFETY: the library passes a NUL-terminated string that lives for this call.
    let line = unsafe { CStr::from_ptr(text) }.to_string_lossy().trim().to_owned();
    if let Some(buffer) = buffer(&line)
        && let Ok(mut buffers) = BUFFERS.lock()
    {
        // A buffer that is made anew replaces the one before.
        buffers.retain(|b| (&b.what, &b.place) != (&buffer.what, &buffer.place));
        buffers.push(buffer);
    }
    if line.is_empty() || level == ffi::GGML_LOG_LEVEL_INFO {
        return;
    }
    if let Ok(mut last) = LAST.lock() {
        if last.len() == KEPT {
            last.remove(0);
        }
        last.push(line);
    }
}

/// A line such as `llama_kv_cache:        CPU KV buffer size =    22.50 MiB`.
fn buffer(line: &str) -> Option<EngineBuffer> {
    let (before, after) = line.split_once(" buffer size =")?;
    let mib: f64 = after.trim().strip_suffix("MiB")?.trim().parse().ok()?;
    let mut words = before.split_once(':')?.1.split_whitespace();
    let (place, what) = (words.next()?.to_owned(), words.next()?.to_lowercase());
    Some(EngineBuffer { what, place, bytes: (mib * f64::from(1 << 20)) as u64 })
}

/// The buffers that the library made since [`clear_buffers`].
pub fn buffers() -> Vec<EngineBuffer> {
    BUFFERS.lock().map(|b| b.clone()).unwrap_or_default()
}

/// Forgets the buffers so far.
pub fn clear_buffers() {
    if let Ok(mut buffers) = BUFFERS.lock() {
        buffers.clear();
    }
}

/// Routes the library's log here.
pub fn install() {
    // SAFETY: `receive` is a valid callback for the whole life of the process and takes no data.
    unsafe { ffi::llama_log_set(Some(receive), std::ptr::null_mut()) };
}

/// Forgets what was logged so far.
pub fn clear() {
    if let Ok(mut last) = LAST.lock() {
        last.clear();
    }
}

/// The errors and warnings logged since [`clear`].
pub fn lines() -> Vec<String> {
    LAST.lock().map(|last| last.clone()).unwrap_or_default()
}

/// Why a model did not load, in the library's words without the names of its functions; all lines where none stands out.
pub fn reason() -> String {
    let lines = lines();
    let telling = |line: &&String| !line.contains("failed to load model");
    let line = lines.iter().rfind(|line| line.contains("error loading model"));
    line.or_else(|| lines.iter().rfind(telling)).map_or_else(last, |line| plain(line))
}

/// A line without leading names of functions and words that say only that loading failed.
fn plain(line: &str) -> String {
    const PHRASES: [&str; 4] = [
        "error loading model: ",
        "error loading model vocabulary: ",
        "error loading model hyperparameters: ",
        "error loading model architecture: ",
    ];
    let mut rest = line.trim();
    loop {
        let phrase = PHRASES.iter().find_map(|phrase| rest.strip_prefix(phrase));
        let function = || {
            let (name, behind) = rest.split_once(": ")?;
            (name.contains('_') && name.chars().all(|c| c.is_alphanumeric() || c == '_')).then_some(behind)
        };
        match phrase.or_else(function) {
            Some(shorter) => rest = shorter.trim(),
            None => return rest.to_owned(),
        }
    }
}

/// The errors and warnings logged since [`clear`], or a sentence that there were none.
pub fn last() -> String {
    match LAST.lock() {
        Ok(last) if !last.is_empty() => last.join("; "),
        _ => "the library gave no reason".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_told_without_the_names_of_functions() {
        let line = "llama_model_load: error loading model: error loading model vocabulary: cannot find tokenizer merges in model file";
        assert_eq!(plain(line), "cannot find tokenizer merges in model file");
        let line = "llama_model_load: error loading model: check_tensor_dims: tensor 'a.weight' has wrong shape; expected 1, got 2";
        assert_eq!(plain(line), "tensor 'a.weight' has wrong shape; expected 1, got 2");
        assert_eq!(plain("no colon"), "no colon");
    }

    #[test]
    fn buffers_are_read_from_the_log() {
        let of =
            |what: &str, place: &str, bytes| EngineBuffer { what: what.into(), place: place.into(), bytes };
        let line = "llama_kv_cache:        CPU KV buffer size =    22.50 MiB";
        assert_eq!(buffer(line), Some(of("kv", "CPU", 23_592_960)));
        let line = "load_tensors:   CPU_Mapped model buffer size =   138.10 MiB";
        assert_eq!(buffer(line).unwrap().what, "model");
        let line = "llama_context:        CPU  output buffer size =     0.19 MiB";
        assert_eq!(buffer(line).unwrap().what, "output");
        assert_eq!(buffer("llama_context: n_ctx = 4096"), None);
    }
}
