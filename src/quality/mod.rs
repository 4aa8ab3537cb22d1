//! The room `quality`; see `docs/ARCHITECTURE.md`.
