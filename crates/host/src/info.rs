//! What the probe learnt, as plain data with units in the names.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Tier;

/// The machine as one process sees it. Serialized into the store and printed by `autotune probe --json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostInfo {
    /// 16 hexadecimal digits over the facts that do not change between runs (CPU, usable threads, RAM, GPUs, architecture).
    /// Measurements of different fingerprints must not meet in one front.
    pub fingerprint: String,
    /// Operating system.
    pub os: OsInfo,
    /// Processor.
    pub cpu: CpuInfo,
    /// Memory.
    pub memory: MemoryInfo,
    /// The disk that results go to; none where its size cannot be read.
    pub disk: Option<DiskInfo>,
    /// GPUs that a driver answers for; empty without a driver.
    pub gpus: Vec<GpuInfo>,
    /// What governs the clock and the battery.
    pub power: PowerInfo,
    /// Load averages; none where the system has no such thing.
    pub load: Option<LoadAverage>,
    /// What the machine was measured to do.
    pub ceilings: Ceilings,
    /// The deployment tier that the usable memory suggests.
    pub tier: Tier,
    /// What the user should know about this probe.
    pub warnings: Vec<HostWarning>,
}

impl HostInfo {
    /// Threads that this process may really use, at least one.
    #[must_use]
    pub fn usable_threads(&self) -> u32 {
        self.cpu.usable_threads
    }

    /// Whether nothing much ran beside this process when it was probed, so that what is measured now can be believed.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.load.is_none_or(|load| !super::probe::is_busy(load.one, self.cpu.usable_threads))
    }

    /// Bytes of memory that this process may really use when nothing else runs.
    #[must_use]
    pub fn usable_bytes(&self) -> u64 {
        self.memory.usable_bytes
    }
}

/// Operating system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OsInfo {
    /// Name and version, for example `Debian GNU/Linux 12`.
    pub name: String,
    /// Kernel release, for example `6.1.0`.
    pub kernel: String,
    /// Architecture, for example `x86_64`.
    pub arch: String,
}

/// Processor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CpuInfo {
    /// Model name as the CPU says it.
    pub model: String,
    /// Vendor, for example `AuthenticAMD`.
    pub vendor: String,
    /// Physical cores of the machine.
    pub physical_cores: u32,
    /// Logical cores of the machine (hyper-threads counted).
    pub logical_cores: u32,
    /// Logical cores that the affinity mask (or a cpuset) leaves to this process.
    pub affinity_cores: u32,
    /// CPU time that cgroups grant, in cores; none without a quota.
    pub quota_cores: Option<f64>,
    /// Threads worth starting: the affinity, and the quota rounded down, but at least one.
    pub usable_threads: u32,
    /// Instruction sets that matter for inference and that this CPU has.
    pub isa: Vec<String>,
    /// Caches, level 1 first; empty where the system does not tell.
    pub caches: Vec<CacheInfo>,
}

impl CpuInfo {
    /// Bytes of all caches of the highest level together; none where unknown.
    #[must_use]
    pub fn last_level_cache_bytes(&self) -> Option<u64> {
        let last = self.caches.iter().max_by_key(|cache| cache.level)?;
        last.bytes.checked_mul(u64::from(last.instances))
    }
}

/// What a cache holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheKind {
    /// Data only.
    Data,
    /// Instructions only.
    Instruction,
    /// Both.
    Unified,
}

/// The caches of one level and kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheInfo {
    /// Level, from 1.
    pub level: u32,
    /// What it holds.
    pub kind: CacheKind,
    /// Bytes of one instance.
    pub bytes: u64,
    /// How many of them the machine has.
    pub instances: u32,
}

/// Memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryInfo {
    /// RAM of the machine, in bytes.
    pub ram_total_bytes: u64,
    /// RAM that can be had without swapping, in bytes.
    pub ram_available_bytes: u64,
    /// Swap, in bytes.
    pub swap_total_bytes: u64,
    /// Unused swap, in bytes.
    pub swap_free_bytes: u64,
    /// The tightest cgroup limit, in bytes; none without one below the RAM.
    pub cgroup_limit_bytes: Option<u64>,
    /// What the cgroup limits leave at this moment, in bytes; none without a limit.
    pub cgroup_free_bytes: Option<u64>,
    /// Limit of the address space (`ulimit -v`), in bytes; none without one. Mapped model files count against it.
    pub address_space_limit_bytes: Option<u64>,
    /// Limit of the data segment (`ulimit -d`), in bytes; none without one. Mapped model files do not count against it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_limit_bytes: Option<u64>,
    /// What this process may use when nothing else runs: the smallest of RAM and limits, in bytes.
    pub usable_bytes: u64,
    /// What this process may use at this moment, in bytes.
    pub usable_now_bytes: u64,
}

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskInfo {
    /// The folder that was asked about.
    pub path: PathBuf,
    /// Bytes that this user may still write there.
    pub free_bytes: u64,
    /// Bytes of the whole file system.
    pub total_bytes: u64,
}

/// A GPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GpuInfo {
    /// Product name.
    pub name: String,
    /// Device memory, in bytes.
    pub memory_total_bytes: u64,
    /// Unused device memory, in bytes.
    pub memory_free_bytes: u64,
    /// Driver version.
    pub driver: String,
    /// CUDA compute capability, for example `9.0`.
    pub compute_capability: Option<String>,
    /// Power limit in force, in watts.
    pub power_limit_w: Option<f64>,
}

/// What governs the clock and the battery: both decide whether measurements repeat.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PowerInfo {
    /// Frequency governor of the first core, for example `performance`.
    pub governor: Option<String>,
    /// Whether the machine runs on a battery; none without one.
    pub on_battery: Option<bool>,
    /// Whether this process may read the CPU's energy counter (RAPL).
    pub energy_counter: bool,
}

/// Mean number of runnable tasks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadAverage {
    /// Over one minute.
    pub one: f64,
    /// Over five minutes.
    pub five: f64,
    /// Over fifteen minutes.
    pub fifteen: f64,
}

/// What the machine was measured to do: bounds that no engine exceeds by much.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    /// Threads of the many-thread figures.
    pub threads: u32,
    /// Memory read with all usable threads, in bytes per second.
    pub read_bytes_per_s: f64,
    /// Memory read with one thread, in bytes per second.
    pub read_bytes_per_s_one_thread: f64,
    /// f32 multiply-adds with all usable threads, in floating-point operations per second (two for each multiply-add).
    pub multiply_add_flop_per_s: f64,
    /// f32 multiply-adds with one thread, in floating-point operations per second.
    pub multiply_add_flop_per_s_one_thread: f64,
    /// Instruction set that reached the multiply-add figure.
    pub multiply_add_isa: String,
    /// Size of the buffer that was read, in bytes.
    pub buffer_bytes: u64,
    /// When it was measured, in seconds since 1970.
    pub measured_unix_s: u64,
    /// Load average over the minute before; none where the system has no such thing.
    pub load_before: Option<f64>,
    /// Whether these figures come from an earlier run.
    pub from_cache: bool,
}

/// What the user should know about a probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum HostWarning {
    /// The ceilings were measured beside other work.
    Busy {
        /// Load average over the minute before.
        load: f64,
        /// Threads that this process may use.
        threads: u32,
    },
    /// No folder is known to keep the ceilings in.
    NoCacheFolder,
    /// The ceilings could not be kept.
    CacheNotWritten {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The buffer does not exceed the caches by much, so that the read figures may be a cache's.
    SmallBuffer {
        /// Its size in bytes.
        buffer_bytes: u64,
        /// The last level's size in bytes.
        cache_bytes: u64,
    },
    /// The machine runs on a battery.
    OnBattery,
    /// This program was built without optimization.
    Unoptimized,
}

impl fmt::Display for HostWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostWarning::Busy { load, threads } => write!(
                f,
                "the ceilings were measured on a busy machine (load {load:.1}, usable threads {threads}); \
                 `autotune probe --refresh` re-measures them"
            ),
            HostWarning::NoCacheFolder => f.write_str(
                "neither XDG_CACHE_HOME nor HOME is set, so the ceilings are measured at every start",
            ),
            HostWarning::CacheNotWritten { path, reason } => write!(
                f,
                "cannot keep the ceilings in {}: {reason}; they are measured at every start",
                path.display()
            ),
            HostWarning::SmallBuffer { buffer_bytes, cache_bytes } => write!(
                f,
                "memory for a buffer of {} next to caches of {}: the read ceilings may be too high",
                autotune_core::units::Bytes(*buffer_bytes),
                autotune_core::units::Bytes(*cache_bytes)
            ),
            HostWarning::Unoptimized => f.write_str(
                "this program was built without optimization: the ceilings are far below the machine's",
            ),
            HostWarning::OnBattery => {
                f.write_str("the machine runs on its battery: expect slower and less steady measurements")
            }
        }
    }
}
