//! Measuring: the worker process, the timing protocol, statistics, peak memory.

pub mod artifact;
pub mod carried;
pub mod memory;
pub mod protocol;
pub mod rates;
pub mod recheck;
pub mod run_clock;
pub mod stats;
pub mod summary;
pub mod supervisor;
pub mod timing;
pub mod turns;
pub mod workload;
