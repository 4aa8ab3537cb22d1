//! The library's log: kept out of the terminal, its last errors kept for error texts.

use std::ffi::{CStr, c_char, c_void};
use std::sync::Mutex;

use llama_cpp_sys_2 as ffi;

/// How many lines of errors and warnings are kept.
const KEPT: usize = 8;

static LAST: Mutex<Vec<String>> = Mutex::new(Vec::new());

unsafe extern "C" fn receive(level: ffi::ggml_log_level, text: *const c_char, _data: *mut c_void) {
    if text.is_null() || (level != ffi::GGML_LOG_LEVEL_ERROR && level != ffi::GGML_LOG_LEVEL_WARN) {
        return;
    }
    // SAFETY: the library passes a NUL-terminated string that lives for this call.
    let line = unsafe { CStr::from_ptr(text) }.to_string_lossy().trim().to_owned();
    if line.is_empty() {
        return;
    }
    if let Ok(mut last) = LAST.lock() {
        if last.len() == KEPT {
            last.remove(0);
        }
        last.push(line);
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

/// The errors and warnings logged since [`clear`], or a sentence that there were none.
pub fn last() -> String {
    match LAST.lock() {
        Ok(last) if !last.is_empty() => last.join("; "),
        _ => "the library gave no reason".to_owned(),
    }
}
