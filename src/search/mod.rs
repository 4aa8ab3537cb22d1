//! The room `search`; see `docs/ARCHITECTURE.md`.
