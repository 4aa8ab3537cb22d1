//! GGUF, versions 2 and 3, little endian: a reader for untrusted files and a streaming writer.
//!
//! Layout (`docs/gguf.md` of ggml): magic, version, counts; key/value pairs; tensor infos; padding to the alignment; tensor data, each
//! tensor padded to the alignment. Offsets in tensor infos count from the start of the data; ours count from the start of the file.

mod disk;
mod error;
mod file;
mod parse;
mod value;
mod write;

#[cfg(feature = "llama")]
pub use disk::{LEFT_BEHIND, check_space, remove_leftovers};
pub use error::{Fault, GgufError};
pub use file::Gguf;
pub use parse::{Header, TensorInfo, parse_header};
pub use value::{MetaArray, MetaType, MetaValue, Metadata};
pub use write::{GgufWriter, TensorDecl, header_bytes, padded};

/// `GGUF` as stored.
pub const MAGIC: [u8; 4] = *b"GGUF";
/// Alignment of files that do not state one, in bytes.
pub const DEFAULT_ALIGNMENT: u64 = 32;
/// The key that states another alignment.
pub const ALIGNMENT_KEY: &str = "general.alignment";
/// Longest tensor name that ggml takes (`GGML_MAX_NAME` less the terminator).
pub const MAX_NAME: usize = 63;
