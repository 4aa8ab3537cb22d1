//! What can be wrong with a model file: what was found, and what to do.
//!
//! Each text is whole in itself, so errors have no further sources: printed alone or as a chain they read the same.

use std::io;
use std::path::PathBuf;

use autotune_core::units::Bytes;

/// A model file that cannot be used, by name.
#[derive(Debug, thiserror::Error)]
#[error("model file {}: {fault}", path.display())]
pub struct GgufError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum Fault {
    #[error("cannot be read: {0}")]
    Read(io::Error),
    #[error("cannot be written: {0}")]
    Write(io::Error),
    #[error("needs {}, more than the disk has left; free some space or name another folder", Bytes(*.bytes))]
    NoSpace { bytes: u64 },
    #[error("is a folder; name the .gguf file in it")]
    Folder,
    #[error("is empty; download it again")]
    Empty,
    #[error("is a Git LFS pointer{}, not the model itself; fetch the model with `git lfs pull` or download it", size_of(.size))]
    LfsPointer { size: Option<u64> },
    #[error(
        "is a text file that starts with {start:?}, not a GGUF model; check the path, or download it again"
    )]
    Text { start: String },
    #[error("is {found}, not GGUF; convert it with llama.cpp's convert_hf_to_gguf.py")]
    OtherFormat { found: &'static str },
    #[error(
        "starts with the bytes {found:02x?}, where GGUF is expected; check the path, or download it again"
    )]
    Magic { found: Vec<u8> },
    #[error("is GGUF version {found}; versions 2 and 3 are read: convert it again with a current llama.cpp")]
    Version { found: u32 },
    #[error("is big-endian GGUF; only little-endian files are read")]
    BigEndian,
    #[error(
        "is truncated: {what} at byte {at} needs {need} bytes, but the file ends after {len}; download it again"
    )]
    Truncated { what: &'static str, at: u64, need: u64, len: u64 },
    #[error("states {found} {what}, over the limit of {limit}; the file is damaged or not a model")]
    Limit { what: &'static str, found: u64, limit: u64 },
    #[error("has {what} that is not UTF-8 at byte {at}; the file is damaged")]
    Utf8 { what: &'static str, at: u64 },
    #[error("has the {what} `{name}` twice; the file is damaged")]
    Duplicate { what: &'static str, name: String },
    #[error("has an empty {what} name at byte {at}; the file is damaged")]
    NoName { what: &'static str, at: u64 },
    #[error("has the value type {found} for `{key}`; types 0 to 12 exist, and arrays of arrays are not read")]
    ValueType { key: String, found: u32 },
    #[error("states the alignment {found}; a power of two up to 2^20 is expected")]
    Alignment { found: String },
    #[error("gives tensor `{tensor}` {found} dimensions; 1 to 4 are allowed")]
    Dimensions { tensor: String, found: u32 },
    #[error("gives tensor `{tensor}` the impossible shape {dims:?}")]
    Shape { tensor: String, dims: Vec<u64> },
    #[error("gives tensor `{tensor}` the unknown type {id}; the file needs a newer autotune, or is damaged")]
    TensorType { tensor: String, id: u32 },
    #[error(
        "gives tensor `{tensor}` rows of {row} elements, not a multiple of the {block} that type {ty} takes"
    )]
    Block { tensor: String, row: u64, block: u64, ty: &'static str },
    #[error("puts tensor `{tensor}` at offset {offset}, not a multiple of the alignment {alignment}")]
    Misaligned { tensor: String, offset: u64, alignment: u64 },
    #[error(
        "is truncated: tensor `{tensor}` lies at bytes {start} to {end}, but the file ends after {len}; download it again"
    )]
    OutOfFile { tensor: String, start: u64, end: u64, len: u64 },
    #[error("puts the tensors `{first}` and `{second}` at the same place; the file is damaged")]
    Overlap { first: String, second: String },
    #[error(
        "is part {part} of {parts} of a split model; join the parts with `llama-gguf-split --merge FIRST-PART OUT.gguf`"
    )]
    Split { part: u64, parts: u64 },
    #[error(
        "is {parts} parts of a split model concatenated (with `cat`?), each with a header of its own; join the parts with `llama-gguf-split --merge FIRST-PART OUT.gguf`"
    )]
    Concatenated { parts: u64 },
    #[error("has no tensor `{tensor}`")]
    NoTensor { tensor: String },
    #[error("got {found} bytes for tensor `{tensor}` of {expected} bytes")]
    TensorBytes { tensor: String, found: u64, expected: u64 },
}

fn size_of(size: &Option<u64>) -> String {
    size.map_or(String::new(), |n| format!(" (to a file of {})", Bytes(n)))
}

impl Fault {
    /// Names the file.
    pub fn at(self, path: impl Into<PathBuf>) -> GgufError {
        GgufError { path: path.into(), fault: self }
    }
}
