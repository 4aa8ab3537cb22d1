//! The room `engine`; see `docs/ARCHITECTURE.md`.

pub mod kernels;
