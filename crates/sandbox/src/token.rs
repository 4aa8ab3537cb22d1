//! The secret that means success.
#![allow(unsafe_code)]

use super::SandboxError;

/// 128 fresh random bits from the kernel, in hexadecimal.
pub(super) fn token() -> Result<String, SandboxError> {
    let mut bytes = [0u8; 16];
    // SAFETY: writes at most 16 bytes into a buffer of 16.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got != bytes.len() as isize {
        return Err(SandboxError::broken("generate a token", std::io::Error::last_os_error()));
    }
    Ok(autotune_core::hex::encode(bytes))
}
