//! The room `store`; see `docs/ARCHITECTURE.md`.
