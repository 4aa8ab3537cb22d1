//! Ending a worker with everything that it started.

use std::collections::BTreeSet;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// Kills a worker, its process group, its descendants that left the group, and `members` (of its control group). The worker leads a
/// group of its own and must not have been reaped, so that its number cannot be another's.
pub(super) fn kill_all(worker: u32, members: &[u32]) {
    let Ok(leader) = i32::try_from(worker) else { return };
    let mut others: BTreeSet<u32> = descendants(worker).into_iter().chain(members.iter().copied()).collect();
    others.remove(&worker);
    // What has ended meanwhile needs no signal.
    let _ = killpg(Pid::from_raw(leader), Signal::SIGKILL);
    let _ = kill(Pid::from_raw(leader), Signal::SIGKILL);
    for pid in others.into_iter().filter_map(|pid| i32::try_from(pid).ok()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// Processes below one; empty where there is no /proc.
fn descendants(root: u32) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let parents: Vec<(u32, u32)> = entries
        .filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            Some((pid, parent_of(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?))
        })
        .collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        let children: Vec<u32> = parents
            .iter()
            .filter(|(pid, of)| *of == parent && !found.contains(pid))
            .map(|(pid, _)| *pid)
            .collect();
        found.extend(children);
        next += 1;
    }
    found.split_off(1)
}

/// The parent in the text of a `/proc/PID/stat` file, whose second field is a program's name that may hold anything.
fn parent_of(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        assert_eq!(parent_of("4711 (a) 1 (b c) S 815 4711 4711 0"), Some(815));
        assert_eq!(parent_of("nonsense"), None);
    }
}
