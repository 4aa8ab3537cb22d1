//! The room `quality`; see `docs/ARCHITECTURE.md`.

pub mod codebleu;
