//! Situations from public bug reports of this and of similar programs, told as tests: one module for each theme.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]
#![allow(clippy::print_stdout, reason = "tests say what they skip")]

#[path = "../support/bench.rs"]
mod bench;

mod answers;
mod convert;
mod dress;
mod files;
mod identity;
mod limits;
mod liveness;
mod luck;
mod not_numbers;
mod old_database;
mod tasks;
#[cfg(feature = "llama")]
mod transformers;
#[cfg(feature = "llama")]
mod unloadable;
mod unworkable_levels;
