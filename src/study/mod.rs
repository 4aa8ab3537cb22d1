//! The room `study`; see `docs/ARCHITECTURE.md`.
