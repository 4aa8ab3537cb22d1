//! Measuring: the worker process, the timing protocol, statistics, peak memory.

pub mod stats;
pub mod timing;
pub mod workload;
