//! The processor: affinity, instruction sets, caches.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::info::{CacheInfo, CacheKind};

/// Logical cores that the scheduler may put this process on, from `/proc/self/status` under a root; none where it is not told.
///
/// The file covers affinity masks and cpusets alike, and knows no bound on the number of cores.
pub(crate) fn affinity_cores(root: &Path) -> Option<u32> {
    let status = fs::read_to_string(root.join("proc/self/status")).ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    count_list(list.trim())
}

/// The number of entries in a list as the kernel writes it: `0-3,8,10-11`.
fn count_list(list: &str) -> Option<u32> {
    let mut count = 0u32;
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    (count > 0).then_some(count)
}

/// Threads worth starting: every core of the affinity, but no more than a quota's whole cores, since a thread that waits for its
/// share of the quota holds up the others; at least one.
pub(crate) fn usable_threads(affinity_cores: u32, quota_cores: Option<f64>) -> u32 {
    // The cast saturates, and floors what is left.
    let quota = quota_cores.map_or(u32::MAX, |quota| quota as u32);
    affinity_cores.min(quota).max(1)
}

/// The caches from `/sys/devices/system/cpu` under a root, level 1 first; empty where it is not told.
pub(crate) fn caches(root: &Path) -> Vec<CacheInfo> {
    let cpus = fs::read_dir(root.join("sys/devices/system/cpu")).into_iter().flatten().flatten();
    // Cores that share a cache all show it: the list of sharers tells the instances apart.
    let mut seen: BTreeMap<(u32, CacheKind, u64), Vec<String>> = BTreeMap::new();
    for cpu in cpus {
        let is_core = cpu.file_name().to_str().is_some_and(|name| {
            name.strip_prefix("cpu").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
        });
        if !is_core {
            continue;
        }
        for index in fs::read_dir(cpu.path().join("cache")).into_iter().flatten().flatten() {
            if let Some((key, sharers)) = one_cache(&index.path()) {
                let instances = seen.entry(key).or_default();
                if !instances.contains(&sharers) {
                    instances.push(sharers);
                }
            }
        }
    }
    seen.into_iter()
        .map(|((level, kind, bytes), instances)| {
            let instances = u32::try_from(instances.len()).unwrap_or(u32::MAX);
            CacheInfo { level, kind, bytes, instances }
        })
        .collect()
}

fn one_cache(folder: &Path) -> Option<((u32, CacheKind, u64), String)> {
    let read = |file: &str| fs::read_to_string(folder.join(file)).ok().map(|text| text.trim().to_owned());
    let kind = match read("type")?.as_str() {
        "Data" => CacheKind::Data,
        "Instruction" => CacheKind::Instruction,
        "Unified" => CacheKind::Unified,
        _ => return None,
    };
    let level = read("level")?.parse().ok()?;
    Some(((level, kind, cache_bytes(&read("size")?)?), read("shared_cpu_list")?))
}

/// `32K`, `8M`, `1G` or plain bytes, in powers of 1024.
fn cache_bytes(text: &str) -> Option<u64> {
    let (digits, scale) = match text.strip_suffix(['K', 'M', 'G']) {
        Some(digits) if text.ends_with('K') => (digits, 1 << 10),
        Some(digits) if text.ends_with('M') => (digits, 1 << 20),
        Some(digits) => (digits, 1 << 30),
        None => (text, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(scale).filter(|bytes| *bytes > 0)
}

/// Asks the CPU for each feature by name; the macro wants literals.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! detected {
    ($detect:ident: $($name:tt),+ $(,)?) => {{
        let mut found = Vec::new();
        $( if std::arch::$detect!($name) { found.push($name.to_owned()); } )+
        found
    }};
}

/// Instruction sets that matter for inference and that this CPU (and this operating system) has.
#[cfg(target_arch = "x86_64")]
pub(crate) fn instruction_sets() -> Vec<String> {
    detected!(is_x86_feature_detected: "sse4.2", "avx", "avx2", "fma", "f16c", "bmi2", "avxvnni", "avx512f", "avx512bw",
        "avx512vl", "avx512dq", "avx512vnni", "avx512bf16", "avx512fp16")
}

/// Instruction sets that matter for inference and that this CPU (and this operating system) has.
#[cfg(target_arch = "aarch64")]
pub(crate) fn instruction_sets() -> Vec<String> {
    detected!(is_aarch64_feature_detected: "neon", "fp16", "dotprod", "bf16", "i8mm", "sve", "sve2")
}

/// Instruction sets are not asked for on this architecture.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(crate) fn instruction_sets() -> Vec<String> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_are_counted() {
        assert_eq!(count_list("0-3,8,10-11"), Some(7));
        assert_eq!(count_list("5"), Some(1));
        for bad in ["", "3-1", "a", "0-", "0-4294967295", "1,,2"] {
            assert_eq!(count_list(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_affinity_is_read_from_a_fake_tree() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(affinity_cores(root.path()), None);
        fs::create_dir_all(root.path().join("proc/self")).unwrap();
        let status = "Name:\tx\nCpus_allowed:\tff\nCpus_allowed_list:\t0-1,4\nMems_allowed_list:\t0\n";
        fs::write(root.path().join("proc/self/status"), status).unwrap();
        assert_eq!(affinity_cores(root.path()), Some(3));
    }

    #[test]
    fn quotas_round_down_to_whole_threads() {
        assert_eq!(usable_threads(16, None), 16);
        assert_eq!(usable_threads(16, Some(2.5)), 2);
        assert_eq!(usable_threads(2, Some(8.0)), 2);
        assert_eq!(usable_threads(4, Some(0.3)), 1);
        assert_eq!(usable_threads(0, None), 1);
    }

    #[test]
    fn shared_caches_are_counted_once() {
        let root = tempfile::tempdir().unwrap();
        for cpu in 0..4 {
            let pair = if cpu < 2 { "0-1" } else { "2-3" };
            let own = cpu.to_string();
            let caches = [
                ("1", "Data", "32K", &*own),
                ("1", "Instruction", "32K", &own),
                ("2", "Unified", "1M", pair),
                ("3", "Unified", "32768K", "0-3"),
            ];
            for (i, (level, kind, size, sharers)) in caches.iter().enumerate() {
                let folder = root.path().join(format!("sys/devices/system/cpu/cpu{cpu}/cache/index{i}"));
                fs::create_dir_all(&folder).unwrap();
                for (file, text) in
                    [("level", level), ("type", kind), ("size", size), ("shared_cpu_list", sharers)]
                {
                    fs::write(folder.join(file), format!("{text}\n")).unwrap();
                }
            }
        }
        // Neighbours that are no cores.
        fs::create_dir_all(root.path().join("sys/devices/system/cpu/cpufreq/cache/index0")).unwrap();
        let found: Vec<_> =
            caches(root.path()).iter().map(|c| (c.level, c.kind, c.bytes, c.instances)).collect();
        assert_eq!(
            found,
            [
                (1, CacheKind::Data, 32 << 10, 4),
                (1, CacheKind::Instruction, 32 << 10, 4),
                (2, CacheKind::Unified, 1 << 20, 2),
                (3, CacheKind::Unified, 32 << 20, 1),
            ]
        );
        assert!(caches(Path::new("/nowhere")).is_empty());
    }

    #[test]
    fn cache_sizes_are_read() {
        assert_eq!(cache_bytes("48K"), Some(48 << 10));
        assert_eq!(cache_bytes("2M"), Some(2 << 20));
        assert_eq!(cache_bytes("64"), Some(64));
        for bad in ["", "K", "0K", "-1K", "99999999999999999999K", "18446744073709551615G"] {
            assert_eq!(cache_bytes(bad), None, "{bad}");
        }
    }
}
