//! The probe: every part asked in turn, and put together.

use std::path::{Path, PathBuf};

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

use super::cgroup::{self, CgroupLimits};
use super::gpu::{GpuProbe, NvmlProbe};
use super::info::{Ceilings, CpuInfo, DiskInfo, HostInfo, HostWarning, LoadAverage, MemoryInfo, OsInfo};
use super::{Effort, Tier, cache, cpu, fingerprint, measure_ceilings, power};

/// A load per usable thread beyond which the ceilings are suspect.
const BUSY: f64 = 0.5;

/// What the probe is asked to do.
#[derive(Clone, Debug, Default)]
pub struct ProbeOptions {
    /// Re-measure the ceilings although they are cached.
    pub refresh: bool,
    /// Answer at once: ceilings that are kept are taken as they are, and others are measured in a tenth of a second and not kept.
    pub brief: bool,
    /// Where the ceilings are kept; [`default_cache_dir`] without it.
    pub cache_dir: Option<PathBuf>,
    /// The folder whose free disk is asked for; it need not exist yet. The current folder without it.
    pub disk_path: Option<PathBuf>,
}

/// Where the facts come from; tests bring their own.
pub struct Sources<'a> {
    /// The root of `/proc` and `/sys`.
    pub root: &'a Path,
    /// The list of GPUs.
    pub gpus: &'a dyn GpuProbe,
    /// The meter of the ceilings, given threads and effort.
    pub meter: &'a dyn Fn(u32, Effort) -> Result<Ceilings, HostError>,
}

/// Why the machine could not be probed.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Threads to measure with.
    #[error("cannot start {threads} threads to measure with")]
    Threads {
        /// Those that were wanted.
        threads: u32,
        /// Why not.
        source: std::io::Error,
    },
    /// Memory to measure with.
    #[error("cannot get {bytes} bytes of memory to measure with; free some memory or raise `ulimit -v`")]
    Memory {
        /// Those that were wanted.
        bytes: u64,
    },
    /// The amount of memory.
    #[error("cannot determine how much memory this machine has")]
    NoMemorySize,
}

/// Probes this machine. The ceilings are measured in about a second, unless they are cached.
///
/// # Errors
/// Memory whose size is not told, or too little of it (or of threads) to measure with.
pub fn probe(options: &ProbeOptions) -> Result<HostInfo, HostError> {
    probe_with(options, &Sources { root: Path::new("/"), gpus: &NvmlProbe, meter: &measure_ceilings })
}

/// As [`probe`], from given sources.
///
/// # Errors
/// As [`probe`].
pub fn probe_with(options: &ProbeOptions, sources: &Sources<'_>) -> Result<HostInfo, HostError> {
    let kinds = RefreshKind::nothing()
        .with_cpu(CpuRefreshKind::nothing())
        .with_memory(MemoryRefreshKind::everything());
    let system = System::new_with_specifics(kinds).map_err(|_| HostError::NoMemorySize)?;
    let limits = cgroup::read_limits(sources.root);
    let os = os();
    let cpu = cpu(&system, sources.root, &limits);
    let memory = memory(&system, &limits)?;
    let gpus = sources.gpus.gpus();
    let load = System::load_average().ok().map(|load| LoadAverage {
        one: load.one,
        five: load.five,
        fifteen: load.fifteen,
    });
    let fingerprint = fingerprint::fingerprint(&os.arch, &cpu, memory.ram_total_bytes, &gpus);
    let power = power::read(sources.root);

    let mut warnings = Vec::new();
    let effort = match options.brief {
        true => Effort::brief(memory.usable_now_bytes),
        false => Effort::sized(cpu.last_level_cache_bytes(), memory.usable_now_bytes),
    };
    let meter = || {
        let ceilings = (sources.meter)(cpu.usable_threads, effort)?;
        Ok(Ceilings { load_before: load.map(|load| load.one), ..ceilings })
    };
    let calm = load.is_none_or(|load| !is_busy(load.one, cpu.usable_threads));
    let kept = Kept { options, fingerprint: &fingerprint, threads: cpu.usable_threads, effort, calm };
    let ceilings = kept.or_measured(meter, &mut warnings)?;
    warnings.extend(doubts(&ceilings, &cpu));
    if power.on_battery == Some(true) {
        warnings.push(HostWarning::OnBattery);
    }
    let tier = Tier::of(memory.usable_bytes);
    let disk = disk(options.disk_path.as_deref().unwrap_or(Path::new(".")));
    Ok(HostInfo { fingerprint, os, cpu, memory, disk, gpus, power, load, ceilings, tier, warnings })
}

/// `$XDG_CACHE_HOME/autotune`, else `~/.cache/autotune`. The XDG base directory specification has relative paths ignored.
#[must_use]
pub fn default_cache_dir() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")))?;
    Some(base.join("autotune"))
}

fn os() -> OsInfo {
    let unknown = || "unknown".to_owned();
    let name = System::name().unwrap_or_else(|_| unknown());
    let version = System::os_version().map_or_else(|_| String::new(), |version| format!(" {version}"));
    OsInfo {
        name: name + &version,
        kernel: System::kernel_version().unwrap_or_else(|_| unknown()),
        arch: System::cpu_arch(),
    }
}

fn cpu(system: &System, root: &Path, limits: &CgroupLimits) -> CpuInfo {
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let first = system.cpus().first();
    let text = |text: Option<&str>| match text.map(str::trim) {
        Some(text) if !text.is_empty() => text.to_owned(),
        _ => "unknown".to_owned(),
    };
    let available = std::thread::available_parallelism().map_or(1, |n| count(n.get()));
    let logical_cores = count(system.cpus().len()).max(1);
    let physical_cores = System::physical_core_count().map_or(logical_cores, count).clamp(1, logical_cores);
    let affinity_cores = cpu::affinity_cores(root).unwrap_or(available);
    CpuInfo {
        model: text(first.map(|cpu| cpu.brand())),
        vendor: text(first.map(|cpu| cpu.vendor_id())),
        physical_cores,
        logical_cores,
        affinity_cores,
        quota_cores: limits.quota_cores,
        usable_threads: cpu::usable_threads(affinity_cores, limits.quota_cores),
        isa: cpu::instruction_sets(),
        caches: cpu::caches(root),
    }
}

fn memory(system: &System, limits: &CgroupLimits) -> Result<MemoryInfo, HostError> {
    let ram_total_bytes = system.total_memory();
    if ram_total_bytes == 0 {
        return Err(HostError::NoMemorySize);
    }
    let ram_available_bytes = system.available_memory().min(ram_total_bytes);
    // A limit over the RAM limits nothing.
    let cgroup_limit_bytes = limits.memory_limit_bytes.filter(|limit| *limit < ram_total_bytes);
    let cgroup_free_bytes = limits.memory_free_bytes;
    let limit =
        |resource| getrlimit(resource).ok().map(|(soft, _)| soft).filter(|soft| *soft != RLIM_INFINITY);
    let address_space_limit_bytes = limit(Resource::RLIMIT_AS);
    let data_limit_bytes = limit(Resource::RLIMIT_DATA);
    let caps = [cgroup_limit_bytes, address_space_limit_bytes, data_limit_bytes];
    let usable_bytes = caps.into_iter().flatten().fold(ram_total_bytes, u64::min);
    let usable_now_bytes =
        cgroup_free_bytes.into_iter().fold(usable_bytes.min(ram_available_bytes), u64::min);
    Ok(MemoryInfo {
        ram_total_bytes,
        ram_available_bytes,
        swap_total_bytes: system.total_swap(),
        swap_free_bytes: system.free_swap(),
        cgroup_limit_bytes,
        cgroup_free_bytes,
        address_space_limit_bytes,
        data_limit_bytes,
        usable_bytes,
        usable_now_bytes,
    })
}

/// The file system of a folder, or of its nearest ancestor that exists.
fn disk(path: &Path) -> Option<DiskInfo> {
    let absolute = std::path::absolute(path).ok()?;
    let stat = absolute.ancestors().find_map(|folder| statvfs(folder).ok())?;
    let bytes =
        |blocks| u64::try_from(u128::from(blocks) * u128::from(stat.fragment_size())).unwrap_or(u64::MAX);
    Some(DiskInfo {
        path: absolute,
        free_bytes: bytes(stat.blocks_available()),
        total_bytes: bytes(stat.blocks()),
    })
}

/// The ceilings kept for a machine.
struct Kept<'a> {
    options: &'a ProbeOptions,
    fingerprint: &'a str,
    threads: u32,
    /// What a measurement would take now.
    effort: Effort,
    /// Whether nothing much runs beside this process.
    calm: bool,
}

impl Kept<'_> {
    /// The ceilings from the cache, else measured and kept. Those that were measured beside other work are measured again as soon as
    /// the machine is calm, and those of a cramped buffer as soon as there is memory for a larger one.
    fn or_measured(
        &self,
        measure: impl FnOnce() -> Result<Ceilings, HostError>,
        warnings: &mut Vec<HostWarning>,
    ) -> Result<Ceilings, HostError> {
        let Self { options, fingerprint, threads, effort, calm } = *self;
        let Some(folder) = options.cache_dir.clone().or_else(default_cache_dir) else {
            warnings.push(HostWarning::NoCacheFolder);
            return measure();
        };
        if let Some(cached) = cache::load(&folder, fingerprint, threads) {
            let was_busy = cached.load_before.is_some_and(|load| is_busy(load, threads));
            let was_cramped = cached.buffer_bytes < effort.buffer_bytes / 2;
            let again = !options.brief && (options.refresh || (was_busy && calm) || was_cramped);
            if !again {
                return Ok(cached);
            }
        }
        let fresh = measure()?;
        if options.brief {
            return Ok(fresh);
        }
        if let Err(error) = cache::save(&folder, fingerprint, &fresh) {
            let path = cache::file(&folder, fingerprint);
            warnings.push(HostWarning::CacheNotWritten { path, reason: error.to_string() });
        }
        Ok(fresh)
    }
}

/// Whether so many runnable tasks disturb a measurement.
pub(super) fn is_busy(load: f64, threads: u32) -> bool {
    load > BUSY * f64::from(threads)
}

/// What speaks against the ceilings.
fn doubts(ceilings: &Ceilings, cpu: &CpuInfo) -> Vec<HostWarning> {
    let mut doubts = Vec::new();
    if cfg!(debug_assertions) {
        doubts.push(HostWarning::Unoptimized);
    }
    if let Some(load) = ceilings.load_before.filter(|load| is_busy(*load, ceilings.threads)) {
        doubts.push(HostWarning::Busy { load, threads: ceilings.threads });
    }
    let cache_bytes = cpu.last_level_cache_bytes().unwrap_or(0);
    if ceilings.buffer_bytes < cache_bytes.saturating_mul(2) {
        doubts.push(HostWarning::SmallBuffer { buffer_bytes: ceilings.buffer_bytes, cache_bytes });
    }
    doubts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ceilings(load: f64, rate: f64) -> Ceilings {
        Ceilings {
            threads: 2,
            read_bytes_per_s: rate,
            read_bytes_per_s_one_thread: rate,
            multiply_add_flop_per_s: rate,
            multiply_add_flop_per_s_one_thread: rate,
            multiply_add_isa: "x".into(),
            buffer_bytes: 100,
            measured_unix_s: 0,
            load_before: Some(load),
            from_cache: false,
        }
    }

    #[test]
    fn figures_of_a_busy_or_cramped_machine_are_replaced_once_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let options = ProbeOptions { cache_dir: Some(folder.path().to_owned()), ..ProbeOptions::default() };
        let ask = |room, calm, load, rate| {
            let effort = Effort { buffer_bytes: room, ..Effort::sized(None, 0) };
            let kept = Kept { options: &options, fingerprint: "f", threads: 2, effort, calm };
            let mut warnings = Vec::new();
            let found = kept.or_measured(|| Ok(ceilings(load, rate)), &mut warnings).unwrap();
            assert_eq!(warnings, []);
            (found.from_cache, found.read_bytes_per_s)
        };
        assert_eq!(ask(100, false, 5.0, 1.0), (false, 1.0), "nothing kept yet");
        assert_eq!(ask(100, false, 5.0, 2.0), (true, 1.0), "still busy: no better figures to be had");
        assert_eq!(ask(100, true, 0.1, 3.0), (false, 3.0), "calm at last");
        assert_eq!(ask(100, true, 0.1, 4.0), (true, 3.0), "calm figures stay");
        assert_eq!(ask(100, false, 5.0, 4.0), (true, 3.0), "whatever comes");
        assert_eq!(ask(200, true, 0.1, 4.0), (true, 3.0), "nearly as large a buffer as there could be");
        assert_eq!(ask(300, true, 0.1, 5.0), (false, 5.0), "a cramped buffer");
    }

    #[test]
    fn a_brief_probe_takes_what_is_kept_and_keeps_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let ask = |brief, calm, load, rate| {
            let options =
                ProbeOptions { brief, cache_dir: Some(folder.path().to_owned()), ..ProbeOptions::default() };
            let effort = Effort { buffer_bytes: 100, ..Effort::sized(None, 0) };
            let kept = Kept { options: &options, fingerprint: "f", threads: 2, effort, calm };
            kept.or_measured(|| Ok(ceilings(load, rate)), &mut Vec::new()).unwrap().read_bytes_per_s
        };
        assert_eq!(ask(true, true, 0.1, 1.0), 1.0);
        assert_eq!(ask(true, true, 0.1, 2.0), 2.0, "the first was not kept");
        assert_eq!(ask(false, false, 5.0, 3.0), 3.0);
        assert_eq!(
            ask(true, true, 0.1, 4.0),
            3.0,
            "figures of a busy machine are good enough for a quick answer"
        );
    }

    #[test]
    fn the_disk_of_a_folder_that_does_not_exist_yet_is_its_ancestors() {
        let folder = tempfile::tempdir().unwrap();
        let later = folder.path().join("a/b/c");
        let (now, then) = (disk(folder.path()).unwrap(), disk(&later).unwrap());
        assert_eq!(now.total_bytes, then.total_bytes);
        assert_eq!(then.path, later);
        assert!(now.total_bytes >= now.free_bytes && now.total_bytes > 0);
    }

    #[test]
    fn small_buffers_and_load_are_doubted() {
        let cpu = CpuInfo {
            model: String::new(),
            vendor: String::new(),
            physical_cores: 2,
            logical_cores: 2,
            affinity_cores: 2,
            quota_cores: None,
            usable_threads: 2,
            isa: Vec::new(),
            caches: vec![super::super::CacheInfo {
                level: 3,
                kind: super::super::CacheKind::Unified,
                bytes: 40,
                instances: 2,
            }],
        };
        let found = doubts(&ceilings(3.0, 1.0), &cpu);
        assert!(found.contains(&HostWarning::Busy { load: 3.0, threads: 2 }));
        assert!(found.contains(&HostWarning::SmallBuffer { buffer_bytes: 100, cache_bytes: 80 }));
        let calm = doubts(&Ceilings { buffer_bytes: 160, ..ceilings(1.0, 1.0) }, &cpu);
        assert!(calm.iter().all(|doubt| *doubt == HostWarning::Unoptimized));
    }
}
