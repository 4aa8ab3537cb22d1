//! The room `compress`; see `docs/ARCHITECTURE.md`.
