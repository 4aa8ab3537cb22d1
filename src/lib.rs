//! **autotune**: a joint, measured search for the compressed variant of a code language model that is worth running on this
//! machine under a hard memory budget.
//!
//! The rooms, top to bottom; data moves one way (see `docs/ARCHITECTURE.md`):
//!
//! - [`cli`]: what the user types, and all that is printed.
//! - [`host`]: the machine: cores, memory, GPUs, measured ceilings.
//! - [`space`]: declared parameters and candidates.
//! - [`model`]: the checkpoint: readers, architecture, tensor roles.
//! - [`compress`]: importance, pruning, quantization, the artifact.
//! - [`engine`]: what runs an artifact; the only room that links an inference library.
//! - [`identity`]: what a number depends on, gathered and compared.
//! - [`measure`]: worker process, timing protocol, statistics, peak memory.
//! - [`quality`]: divergence, CodeBLEU, Pass@k, tasks, sandbox: completions in, scores out.
//! - [`search`]: ask/tell samplers, Pareto sets, hypervolume; knows no model.
//! - [`study`]: the loop that takes candidates up the rungs.
//! - [`store`]: SQLite; every finished rung is durable before the next begins.
//! - [`report`]: HTML and figures; reads the store only.
//! - [`handover`]: the exported artifact with its figures, commands and checksums.
//! - [`validate`]: is an artifact fit to be deployed on a class of machines?

pub mod atomic_file;
pub mod cli;
pub mod compress;
pub mod duration;
pub mod engine;
pub mod exit;
pub mod fault;
pub mod handover;
pub mod hex;
pub mod host;
pub mod identity;
pub mod measure;
pub mod model;
pub mod quality;
pub mod report;
pub mod search;
pub mod shell;
pub mod space;
pub mod store;
pub mod study;
pub mod tuner;
pub mod units;
pub mod validate;
