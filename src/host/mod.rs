//! The room `host`; see `docs/ARCHITECTURE.md`.
