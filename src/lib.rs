//! **autotune**: a joint, measured search for the compressed variant of a code language model that is worth running on this
//! machine under a hard memory budget.
//!
//! The library is a facade over the crates of the workspace, bottom to top; each depends only on those above it in this list (see
//! `docs/src/project/architecture.md`):
//!
//! - [`space`], [`units`], [`stats`], [`os`]: the ground floor, the crate `autotune-core`.
//! - [`model`]: model files: readers, architectures, tensor roles.
//! - [`host`]: the machine: cores, memory, GPUs, measured ceilings; what a number depends on.
//! - [`engine`]: what runs an artifact; the only crate that links an inference library.
//! - [`compress`]: importance, pruning, quantization, the artifact.
//! - [`search`]: ask/tell samplers, Pareto sets, hypervolume; knows no model.
//! - [`sandbox`]: runs code that a model wrote.
//! - [`quality`]: divergence, CodeBLEU, Pass@k, tasks: completions in, scores out.
//! - [`worker`]: the worker process: protocol, supervisor, timing, memory.
//! - [`store`]: SQLite; every finished stage is durable before the next begins.
//! - [`study`]: the loop that takes candidates through their stages.
//! - [`report`], [`handover`], [`validate`]: analysis and figures, the exported artifact, whether an artifact fits a class of machines.
//! - [`tuner`]: a study from a model and a budget, without the command line.

pub mod cli;
pub mod exit;
pub mod tuner;

pub use autotune_core::{
    atomic_file, carried, duration, hex, logits, metric, os, shell, space, stats, units,
};
pub use autotune_report::{handover, validate};
pub use {
    autotune_compress as compress, autotune_engine as engine, autotune_host as host, autotune_model as model,
    autotune_quality as quality, autotune_report as report, autotune_sandbox as sandbox,
    autotune_search as search, autotune_store as store, autotune_study as study, autotune_worker as worker,
};
