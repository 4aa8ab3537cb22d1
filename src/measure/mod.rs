//! The room `measure`; see `docs/ARCHITECTURE.md`.
