//! The room `engine`; see `docs/ARCHITECTURE.md`.
