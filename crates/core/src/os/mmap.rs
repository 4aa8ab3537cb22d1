//! Read-only memory maps behind a safe function.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use memmap2::Mmap;

/// Maps a whole file for reading. An empty file gives an empty map.
///
/// The map is used for headers and small tensors only; bulk data goes through positional reads, which report a file that shrinks
/// under us as an error. Shrinking a mapped file makes later reads of the lost pages fail with SIGBUS: model files are not to be
/// truncated in place while a study runs (all our own writers replace files by renaming).
///
/// # Errors
/// What the operating system says (not a regular file, no memory for the map).
pub fn map_file(file: &File) -> io::Result<Mmap> {
    // SAFETY: the map is read-only and private to this process; we hand out shared byte slices only. The remaining risk, another
    // process that truncates the file, is documented above.
    unsafe { Mmap::map(file) }
}
