//! The machine: what it has, what this process may use of it, and what it was measured to do.
//!
//! [`probe()`] answers all of it in under three seconds, and in milliseconds once the ceilings are cached. Facts about Linux are read
//! from `/proc` and `/sys` by functions that take the root as an argument, so that tests feed them trees of their own; other
//! systems get what `sysinfo` and the standard library know.
//!
//! Limits: the ceilings are what plain loops reach on a machine that other programs may be using, not a vendor's figure.

pub mod busy;
mod cache;
pub mod cage;
pub mod calibrate;
mod ceilings;
mod cgroup;
mod cpu;
pub mod energy;
mod fingerprint;
mod gpu;
pub mod gpu_use;
pub mod identity;
mod info;
pub mod limits;
mod power;
mod probe;
mod tier;

pub use ceilings::{Effort, measure_ceilings};
pub use gpu::{GpuProbe, NvmlProbe};
pub use info::{
    CacheInfo, CacheKind, Ceilings, CpuInfo, DiskInfo, GpuInfo, HostInfo, HostWarning, LoadAverage,
    MemoryInfo, OsInfo, PowerInfo,
};
pub use probe::{HostError, ProbeOptions, Sources, default_cache_dir, probe, probe_with};
pub use tier::{Demand, Tier};
