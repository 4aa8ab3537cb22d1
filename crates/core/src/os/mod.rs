//! The operating system and the processor, where Rust's standard library does not reach. One of the few places with `unsafe`.

pub mod kernels;
pub mod mmap;
pub mod process;
