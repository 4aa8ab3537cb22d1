//! Measuring: the worker process, the timing protocol, statistics, peak memory.

pub mod artifact;
mod build;
pub mod fault;
mod kernel_rates;
#[cfg(feature = "llama")]
mod layers;
pub mod memory;
mod next_line;
pub mod protocol;
pub mod rates;
pub mod recheck;
pub mod run_clock;
pub mod serve;
pub mod summary;
pub mod supervisor;
pub mod timing;
pub mod turns;
mod values;
pub mod workload;
