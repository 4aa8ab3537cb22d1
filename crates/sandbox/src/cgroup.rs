//! A control group for each worker, where the system grants one: it bounds threads and memory of all its processes together.
//!
//! An addition to the other layers: RLIMIT_NPROC does not bind root, and RLIMIT_AS counts each process by itself. Both versions of the
//! interface are used as they are found; nothing is enabled that its owner has not enabled.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use super::orphans;

/// Names of our groups: this, the owner's process id, a number.
const PREFIX: &str = "autotune-sandbox-";

/// A group in each hierarchy that limits something; removed when dropped, after its processes.
#[derive(Debug)]
pub(super) struct Group {
    folders: Vec<PathBuf>,
}

impl Group {
    /// A new group that may have so many threads and so much memory; `None` where none can be made.
    pub(super) fn new(threads: u64, memory_bytes: u64) -> Option<Self> {
        let name = orphans::name(PREFIX);
        let mut group = Self { folders: Vec::new() };
        for parent in parents(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup")) {
            orphans::sweep(&parent, PREFIX, |folder| drop(fs::remove_dir(folder)));
            let folder = parent.join(&name);
            if fs::create_dir(&folder).is_err() {
                continue;
            }
            let memory = memory_bytes.to_string();
            let limits = [
                ("pids.max", threads.to_string()),
                ("memory.max", memory.clone()),
                ("memory.limit_in_bytes", memory),
            ];
            let limited = limits.iter().filter(|(file, value)| write(&folder.join(file), value)).count();
            if limited > 0 {
                group.folders.push(folder);
            } else {
                let _ = fs::remove_dir(folder);
            }
        }
        (!group.folders.is_empty()).then_some(group)
    }

    /// Puts a process in; whatever it starts from then on is in too.
    pub(super) fn add(&self, pid: i32) -> bool {
        self.folders.iter().all(|folder| write(&folder.join("cgroup.procs"), &pid.to_string()))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        for folder in &self.folders {
            // A process that has been reaped leaves its group a moment later.
            for _ in 0..50 {
                if fs::remove_dir(folder).is_ok() {
                    break;
                }
                thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

/// Whether groups can be made here and processes put in.
pub(super) fn works() -> bool {
    Group::new(64, 1 << 30).is_some()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// Writes to a file that exists; a group never gets files of ours.
fn write(path: &Path, value: &str) -> bool {
    path.exists() && fs::write(path, value).is_ok()
}

/// The folders of the groups that this process is in, for the hierarchies that limit threads or memory: version 1 has one for each
/// controller, version 2 has one for all.
fn parents(mountinfo: &str, own: &str) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for line in mountinfo.lines() {
        let Some((mount, kind)) = line.split_once(" - ") else { continue };
        let (mount, kind): (Vec<&str>, Vec<&str>) = (mount.split(' ').collect(), kind.split(' ').collect());
        let (Some(root), Some(point), Some(name), Some(options)) =
            (mount.get(3), mount.get(4), kind.first(), kind.get(2))
        else {
            continue;
        };
        let controller = match *name {
            "cgroup" => options.split(',').find(|option| ["pids", "memory"].contains(option)),
            "cgroup2" => Some(""),
            _ => None,
        };
        let Some(controller) = controller else { continue };
        let path = own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            fields.next().filter(|names| names.split(',').any(|name| name == controller)).and(fields.next())
        });
        // A container sees its own group as the root of the mount.
        let Some(path) = path.map(|path| path.strip_prefix(root).unwrap_or(path).trim_start_matches('/'))
        else {
            continue;
        };
        let folder = Path::new(point).join(path);
        if folder.is_dir() {
            folders.push(folder);
        }
    }
    folders
}

/// The number of a group's owner is that of this process.
#[cfg(test)]
pub(super) fn own_groups() -> usize {
    let ours = format!("{PREFIX}{}-", std::process::id());
    let parents = parents(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"));
    let entries = parents.iter().filter_map(|parent| fs::read_dir(parent).ok()).flatten().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&ours)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().to_str().unwrap();
        for path in ["memory/own", "pids", "unified/slice/own"] {
            fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        let mounts = format!(
            "30 25 0:26 / {base}/memory rw,relatime - cgroup cgroup rw,memory\n\
             31 25 0:27 / {base}/pids rw,relatime shared:9 - cgroup cgroup rw,pids\n\
             32 25 0:28 / {base}/cpu rw - cgroup cgroup rw,cpu\n\
             33 25 0:29 / {base}/unified rw - cgroup2 cgroup2 rw,nsdelegate\n\
             34 25 0:30 / /proc rw - proc proc rw\n"
        );
        let own = "4:memory:/own\n8:pids:/\n1:cpu:/\n0::/slice/own\n";
        let found = parents(&mounts, own);
        let expected = ["memory/own", "pids", "unified/slice/own"].map(|path| folder.path().join(path));
        assert_eq!(found, expected);
        assert!(
            parents("", own).is_empty()
                && parents(&mounts, "").is_empty()
                && parents("garbage - x", own).is_empty()
        );
    }

    #[test]
    fn a_group_goes_with_its_owner() {
        let Some(group) = Group::new(32, 1 << 30) else {
            println!("skipped: no group can be made here");
            return;
        };
        assert!(own_groups() > 0);
        drop(group);
    }
}
