//! Measuring: the worker process, the timing protocol, statistics, peak memory.

pub mod memory;
pub mod protocol;
pub mod stats;
pub mod supervisor;
pub mod timing;
pub mod workload;
