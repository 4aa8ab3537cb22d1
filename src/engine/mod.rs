//! What runs an artifact, and the thin safe layer over the inference library that other rooms borrow.

#[cfg(feature = "llama")]
pub mod ggml;
pub mod mmap;
#[cfg(feature = "llama")]
pub mod quantize;
