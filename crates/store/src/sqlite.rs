//! A file system layer for SQLite that takes paths as they are. The usual one replaces every symbolic link by what it leads to, and refuses
//! what is then longer than 512 bytes; through it a database in a deep folder cannot be opened by the short way of an open descriptor.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int};
use std::ptr;
use std::sync::OnceLock;

use rusqlite::ffi;

/// The layer's name.
const NAME: &CStr = c"autotune-as-given";

/// Registers the layer, once for the process; returns its name, or none where SQLite refuses it.
pub(crate) fn paths_as_given() -> Option<&'static CStr> {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    REGISTERED.get_or_init(register).then_some(NAME)
}

fn register() -> bool {
    // SAFETY: SQLite initialises itself in the look-up, and the layer that it returns lives as long as the process. The copy differs in its
    // name and in one function; it is leaked, since SQLite keeps the pointer.
    unsafe {
        let usual = ffi::sqlite3_vfs_find(ptr::null());
        if usual.is_null() {
            return false;
        }
        let mut layer = Box::new(*usual);
        layer.zName = NAME.as_ptr();
        layer.pNext = ptr::null_mut();
        layer.xFullPathname = Some(as_given);
        ffi::sqlite3_vfs_register(Box::into_raw(layer), 0) == ffi::SQLITE_OK
    }
}

/// Copies a path to where its full form is wanted.
unsafe extern "C" fn as_given(
    _: *mut ffi::sqlite3_vfs,
    path: *const c_char,
    size: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: SQLite hands a path that ends in a NUL, and `size` writable bytes that do not overlap it.
    unsafe {
        let bytes = CStr::from_ptr(path).to_bytes_with_nul();
        if usize::try_from(size).is_ok_and(|size| bytes.len() <= size) {
            ptr::copy_nonoverlapping(bytes.as_ptr().cast(), out, bytes.len());
            ffi::SQLITE_OK
        } else {
            ffi::SQLITE_CANTOPEN
        }
    }
}
