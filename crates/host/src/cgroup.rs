//! What Linux control groups grant to this process, versions 1 and 2.
//!
//! A limit may be set at any level above the process, so each hierarchy is walked from the process's own group up to the mount. In a
//! container the visible mount may be that group itself: then its path in `/proc/self/cgroup` lies outside and the mount is read.
//! Files: kernel documentation, `admin-guide/cgroup-v2.rst`, `scheduler/sched-bwc.rst`, `admin-guide/cgroup-v1/memory.rst`.

use std::fs;
use std::path::{Component, Path, PathBuf};

/// Version 1 says "no limit" by a number near 2^63 rounded to pages; nothing real reaches 2^60.
const UNLIMITED: u64 = 1 << 60;

/// The tightest limits on the way up; none where there is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct CgroupLimits {
    /// CPU time per wall time, in cores.
    pub quota_cores: Option<f64>,
    /// Memory, in bytes (`memory.max`, or `memory.high`, beyond which the kernel slows the group down).
    pub memory_limit_bytes: Option<u64>,
    /// Memory that the limits leave at this moment, in bytes. Page cache that can be dropped counts as free.
    pub memory_free_bytes: Option<u64>,
}

/// Reads the limits under a root (`/` on a real machine). What cannot be read limits nothing.
pub(crate) fn read_limits(root: &Path) -> CgroupLimits {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).unwrap_or_default();
    let mounts: Vec<Mount> = mounts.lines().filter_map(Mount::parse).collect();
    let mut limits = CgroupLimits::default();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        // The unified hierarchy (version 2) has no names.
        let names: Vec<&str> = controllers.split(',').filter(|name| !name.is_empty()).collect();
        for mount in mounts.iter().filter(|mount| mount.holds(&names)) {
            for folder in mount.way_up(root, path) {
                if names.is_empty() {
                    limits.tighten(&version_2(&folder));
                } else {
                    limits.tighten(&version_1(&folder, &names));
                }
            }
        }
    }
    limits
}

/// The folders of this process's own groups in the hierarchies that limit memory.
pub(crate) fn memory_groups(root: &Path) -> Vec<PathBuf> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mounts = fs::read_to_string(root.join("proc/self/mountinfo")).unwrap_or_default();
    let mounts: Vec<Mount> = mounts.lines().filter_map(Mount::parse).collect();
    let mut folders = Vec::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let names: Vec<&str> = controllers.split(',').filter(|name| !name.is_empty()).collect();
        if !names.is_empty() && !names.contains(&"memory") {
            continue;
        }
        let own =
            mounts.iter().filter(|m| m.holds(&names)).filter_map(|m| m.way_up(root, path).into_iter().next());
        folders.extend(own.filter(|folder| folder.is_dir()));
    }
    folders
}

impl CgroupLimits {
    fn tighten(&mut self, other: &CgroupLimits) {
        fn least<T: PartialOrd + Copy>(a: Option<T>, b: Option<T>) -> Option<T> {
            match (a, b) {
                (Some(a), Some(b)) => Some(if b < a { b } else { a }),
                (a, b) => a.or(b),
            }
        }
        self.quota_cores = least(self.quota_cores, other.quota_cores);
        self.memory_limit_bytes = least(self.memory_limit_bytes, other.memory_limit_bytes);
        self.memory_free_bytes = least(self.memory_free_bytes, other.memory_free_bytes);
    }
}

/// A mounted hierarchy, from a line of `/proc/self/mountinfo`.
#[derive(Debug)]
struct Mount {
    /// The group that is seen at the mount point.
    group: String,
    /// Where it is mounted.
    point: String,
    /// `cgroup2`, or the controllers of a `cgroup`.
    controllers: Option<Vec<String>>,
}

impl Mount {
    /// `id parent major:minor root point options [fields] - type source super-options`; none for other file systems.
    fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (group, point) = (unescape(before.next()?), unescape(before.next()?));
        let mut after = after.split(' ');
        let controllers = match after.next()? {
            "cgroup2" => None,
            "cgroup" => Some(after.nth(1)?.split(',').map(str::to_owned).collect()),
            _ => return None,
        };
        Some(Self { group, point, controllers })
    }

    /// Whether this is the hierarchy of these controllers.
    fn holds(&self, names: &[&str]) -> bool {
        match &self.controllers {
            None => names.is_empty(),
            Some(controllers) => names.iter().any(|name| controllers.iter().any(|c| c == name)),
        }
    }

    /// The folders from a group up to the mount, as far as they are visible.
    fn way_up(&self, root: &Path, group: &str) -> Vec<PathBuf> {
        let top = root.join(self.point.trim_start_matches('/'));
        let inside = Path::new(group).strip_prefix(&self.group).unwrap_or(Path::new(""));
        // A group outside of this namespace reads `/../...`: only the mount itself can be seen.
        let plain = inside.components().all(|part| matches!(part, Component::Normal(_)));
        let inside = if plain { inside } else { Path::new("") };
        inside.ancestors().map(|part| top.join(part)).collect()
    }
}

/// `\040` and the like, as the kernel writes blanks in paths.
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                out.push(char::from(code));
                rest = &rest[at + 4..];
            }
            None => {
                out.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    out + rest
}

fn version_2(folder: &Path) -> CgroupLimits {
    let max = text(folder, "cpu.max");
    let mut max = max.split_whitespace();
    let quota = max.next().and_then(|quota| quota.parse::<f64>().ok());
    let period = max.next().and_then(|period| period.parse::<f64>().ok());
    let hard = number(folder, "memory.max");
    let soft = number(folder, "memory.high");
    let limit = hard.into_iter().chain(soft).min();
    CgroupLimits {
        quota_cores: cores(quota, period),
        memory_limit_bytes: limit,
        memory_free_bytes: limit.and_then(|limit| free(folder, limit, "memory.current", "inactive_file")),
    }
}

fn version_1(folder: &Path, names: &[&str]) -> CgroupLimits {
    let mut limits = CgroupLimits::default();
    if names.contains(&"cpu") {
        // The quota is -1 without a limit.
        let quota = text(folder, "cpu.cfs_quota_us").trim().parse::<f64>().ok();
        let period = number(folder, "cpu.cfs_period_us").map(|period| period as f64);
        limits.quota_cores = cores(quota, period);
    }
    if names.contains(&"memory") {
        let limit = number(folder, "memory.limit_in_bytes").filter(|limit| *limit < UNLIMITED);
        limits.memory_limit_bytes = limit;
        limits.memory_free_bytes =
            limit.and_then(|limit| free(folder, limit, "memory.usage_in_bytes", "total_inactive_file"));
    }
    limits
}

fn cores(quota: Option<f64>, period: Option<f64>) -> Option<f64> {
    let cores = quota? / period?;
    (cores.is_finite() && cores > 0.0).then_some(cores)
}

/// What a limit leaves: the usage without the file pages that the kernel would drop first.
fn free(folder: &Path, limit: u64, usage_file: &str, droppable_key: &str) -> Option<u64> {
    let usage = number(folder, usage_file)?;
    let droppable = text(folder, "memory.stat")
        .lines()
        .find_map(|line| line.strip_prefix(droppable_key)?.trim().parse::<u64>().ok())
        .unwrap_or(0);
    Some(limit.saturating_sub(usage.saturating_sub(droppable)))
}

fn text(folder: &Path, file: &str) -> String {
    fs::read_to_string(folder.join(file)).unwrap_or_default()
}

fn number(folder: &Path, file: &str) -> Option<u64> {
    text(folder, file).trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree of files under a temporary root.
    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    const V2: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn version_2_takes_the_tightest_level_on_the_way_up() {
        let root = tree(&[
            ("proc/self/cgroup", "0::/user.slice/job\n"),
            ("proc/self/mountinfo", V2),
            ("sys/fs/cgroup/user.slice/job/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/user.slice/job/memory.max", "8000000000\n"),
            ("sys/fs/cgroup/user.slice/job/memory.current", "1000000000\n"),
            ("sys/fs/cgroup/user.slice/job/memory.stat", "anon 5\ninactive_file 400000000\n"),
            ("sys/fs/cgroup/user.slice/cpu.max", "250000 100000\n"),
            ("sys/fs/cgroup/user.slice/memory.max", "6000000000\n"),
            ("sys/fs/cgroup/user.slice/memory.current", "100\n"),
            ("sys/fs/cgroup/user.slice/memory.high", "max\n"),
        ]);
        let limits = read_limits(root.path());
        assert_eq!(limits.quota_cores, Some(2.5));
        assert_eq!(limits.memory_limit_bytes, Some(6_000_000_000));
        assert_eq!(limits.memory_free_bytes, Some(5_999_999_900));
    }

    #[test]
    fn version_2_in_a_namespace_reads_the_mount() {
        for group in ["/", "/../../other"] {
            let root = tree(&[
                ("proc/self/cgroup", &format!("0::{group}\n")),
                ("proc/self/mountinfo", V2),
                ("sys/fs/cgroup/cpu.max", "50000 100000\n"),
                ("sys/fs/cgroup/memory.max", "max\n"),
                ("sys/fs/cgroup/memory.high", "1000\n"),
                ("other/memory.max", "1\n"),
            ]);
            let limits = read_limits(root.path());
            assert_eq!(limits.quota_cores, Some(0.5), "{group}");
            assert_eq!(limits.memory_limit_bytes, Some(1000), "{group}");
            assert_eq!(limits.memory_free_bytes, None, "usage unknown");
        }
    }

    #[test]
    fn version_1_strips_the_mounts_own_group() {
        let root = tree(&[
            ("proc/self/cgroup", "5:cpu,cpuacct:/docker/abc/sub\n4:memory:/docker/abc\n1:name=systemd:/x\n"),
            (
                "proc/self/mountinfo",
                "31 23 0:29 /docker/abc /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                 32 23 0:30 /docker/abc /sys/fs/cgroup/my\\040memory rw shared:1 - cgroup cgroup rw,memory\n\
                 33 23 0:31 / / rw - ext4 /dev/vda rw\n",
            ),
            ("sys/fs/cgroup/cpu,cpuacct/sub/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu,cpuacct/sub/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "400000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/my memory/memory.limit_in_bytes", "1073741824\n"),
            ("sys/fs/cgroup/my memory/memory.usage_in_bytes", "73741824\n"),
        ]);
        let limits = read_limits(root.path());
        assert_eq!(limits.quota_cores, Some(4.0));
        assert_eq!(limits.memory_limit_bytes, Some(1 << 30));
        assert_eq!(limits.memory_free_bytes, Some(1_000_000_000));
    }

    #[test]
    fn no_limit_is_none() {
        let root = tree(&[
            ("proc/self/cgroup", "4:memory:/\n2:cpu:/\n0::/\n"),
            (
                "proc/self/mountinfo",
                "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                 32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                 41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
            ),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
        ]);
        assert_eq!(read_limits(root.path()), CgroupLimits::default());
        assert_eq!(read_limits(Path::new("/nowhere")), CgroupLimits::default());
    }

    #[test]
    fn escapes_are_read_and_broken_ones_kept() {
        assert_eq!(unescape(r"a\040b\134"), r"a b\");
        assert_eq!(unescape(r"\9\04"), r"\9\04");
        assert_eq!(unescape(r"\"), r"\");
        assert_eq!(unescape("\\ü\u{20ac}"), "\\ü\u{20ac}");
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_files_never_panic(groups in "[0-9:a-z,/.\n]{0,60}", mounts in "\\PC{0,80}", value in "\\PC{0,20}") {
            let root = tree(&[
                ("proc/self/cgroup", &groups),
                ("proc/self/mountinfo", &format!("{V2}{mounts}")),
                ("sys/fs/cgroup/cpu.max", &value),
                ("sys/fs/cgroup/memory.max", &value),
            ]);
            read_limits(root.path());
        }
    }
}
