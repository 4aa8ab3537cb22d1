//! A control group of its own for one process, with a ceiling on memory that the kernel itself enforces; where the system grants one.
//!
//! A backstop behind the watchdog that reads a worker's memory every few milliseconds: between two looks a program can take more than
//! a machine has. Page cache of mapped files counts in the group, too, and the kernel drops it under pressure instead of ending
//! the process, so the ceiling lies above the budget: the watchdog decides what a budget allows, the cage what the machine bears.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::cgroup;

/// Names of our groups: this, the owner's process id, a number.
const PREFIX: &str = "autotune-worker-";
static NEXT: AtomicU64 = AtomicU64::new(0);

/// The group; removed when dropped, after its process.
#[derive(Debug)]
pub struct Cage {
    folder: PathBuf,
}

impl Cage {
    /// A group whose processes may have so much memory in all; none where none can be made.
    #[must_use]
    pub fn new(bytes: u64) -> Option<Self> {
        Self::under(Path::new("/"), bytes)
    }

    fn under(root: &Path, bytes: u64) -> Option<Self> {
        cgroup::memory_groups(root).into_iter().find_map(|parent| {
            sweep(&parent);
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let folder = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
            fs::create_dir(&folder).ok()?;
            let cage = Self { folder };
            // Version 2, else version 1; a group without the file has no memory controller. Swap is no way out.
            let limited = cage.write("memory.max", bytes) || cage.write("memory.limit_in_bytes", bytes);
            let _ = cage.write("memory.swap.max", 0) || cage.write("memory.memsw.limit_in_bytes", bytes);
            limited.then_some(cage)
        })
    }

    fn write(&self, file: &str, value: u64) -> bool {
        let path = self.folder.join(file);
        path.exists() && fs::write(path, value.to_string()).is_ok()
    }

    /// Puts a process in; false where the system refuses.
    #[must_use]
    pub fn hold(&self, pid: u32) -> bool {
        fs::write(self.folder.join("cgroup.procs"), pid.to_string()).is_ok()
    }

    /// Processes that are in it now.
    #[must_use]
    pub fn members(&self) -> Vec<u32> {
        let text = fs::read_to_string(self.folder.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.trim().parse().ok()).collect()
    }

    /// Whether the kernel ended a process of the group for its memory.
    #[must_use]
    pub fn has_killed(&self) -> bool {
        // Both versions count under the same word, in different files.
        ["memory.events", "memory.oom_control"].iter().any(|file| {
            let text = fs::read_to_string(self.folder.join(file)).unwrap_or_default();
            text.lines().any(|l| l.strip_prefix("oom_kill ").is_some_and(|n| n.trim() != "0"))
        })
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        // A process that has been reaped leaves its group a moment later.
        for _ in 0..50 {
            if fs::remove_dir(&self.folder).is_ok() || !self.folder.exists() {
                break;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Removes groups whose owner was killed.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let owner = entry
            .file_name()
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse::<u32>().ok());
        if let Some(pid) = owner
            && fs::metadata(format!("/proc/{pid}")).is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
        {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_granted_where_nothing_is_mounted() {
        let root = tempfile::tempdir().unwrap();
        assert!(Cage::under(root.path(), 1 << 30).is_none());
    }

    #[test]
    fn the_kernel_ends_what_outgrows_its_cage() {
        let Some(cage) = Cage::new(64 << 20) else {
            return; // this system grants no group
        };
        let script = "read x; s=a; while :; do s=$s$s; done";
        let mut child = std::process::Command::new("sh")
            .args(["-c", script])
            .stdin(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        if cage.hold(child.id()) {
            drop(child.stdin.take());
            let status = child.wait().unwrap();
            // The shell may also be refused the memory before the kernel has to end it.
            assert!(!status.success());
            let folder = cage.folder.clone();
            drop(cage);
            assert!(!folder.exists());
        } else {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    #[test]
    fn kills_are_read_in_both_versions() {
        let folder = tempfile::tempdir().unwrap();
        let cage = Cage { folder: folder.path().join("g") };
        fs::create_dir(&cage.folder).unwrap();
        assert!(!cage.has_killed());
        fs::write(cage.folder.join("memory.events"), "low 0\noom 1\noom_kill 0\n").unwrap();
        assert!(!cage.has_killed());
        fs::write(cage.folder.join("memory.oom_control"), "under_oom 0\noom_kill 1\n").unwrap();
        assert!(cage.has_killed());
        fs::remove_file(cage.folder.join("memory.events")).unwrap();
        fs::remove_file(cage.folder.join("memory.oom_control")).unwrap();
    }
}
