//! The room `model`; see `docs/ARCHITECTURE.md`.
