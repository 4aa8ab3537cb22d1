//! The room `report`; see `docs/ARCHITECTURE.md`.
