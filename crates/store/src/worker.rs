//! Who works on a trial, and whether that process still lives.

use serde::{Deserialize, Serialize};

/// A process, told apart from a later one with the same number by its start time and the machine's boot.
///
/// Processes of different PID namespaces (two containers on one results folder) cannot see each other: each takes the other for dead.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WorkerIdentity {
    /// Process number.
    pub pid: u32,
    /// Start time in clock ticks since boot (Linux; 0 where unknown).
    pub started_ticks: u64,
    /// The boot's identifier (Linux; empty where unknown).
    pub boot_id: String,
}

impl WorkerIdentity {
    /// This process.
    #[must_use]
    pub fn current() -> Self {
        let pid = std::process::id();
        Self { pid, started_ticks: start_ticks(pid).unwrap_or(0), boot_id: boot_id() }
    }

    /// Whether that process still runs on this machine since this boot. A zombie counts as dead: it will do no more work.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        if self.boot_id != boot_id() {
            return false;
        }
        if cfg!(target_os = "linux") {
            return start_ticks(self.pid) == Some(self.started_ticks);
        }
        i32::try_from(self.pid)
            .is_ok_and(|pid| nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None).is_ok())
    }
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Field 22 of `/proc/<pid>/stat` (proc(5)), none for a process that is gone or a zombie.
fn start_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(&stat)
}

fn parse_stat(stat: &str) -> Option<u64> {
    // The command's name stands in parentheses and may itself hold spaces and parentheses: count from the last one.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_its_successors_do_not() {
        let me = WorkerIdentity::current();
        assert!(me.is_alive());
        let other_boot = WorkerIdentity { boot_id: "another".into(), ..me.clone() };
        assert!(!other_boot.is_alive());
        if cfg!(target_os = "linux") {
            let reused = WorkerIdentity { started_ticks: me.started_ticks + 1, ..me };
            assert!(!reused.is_alive());
        }
    }

    #[test]
    fn a_finished_child_is_dead_even_as_a_zombie() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let ticks = start_ticks(child.id()).unwrap_or(0);
        let worker = WorkerIdentity { pid: child.id(), started_ticks: ticks, ..WorkerIdentity::current() };
        assert!(worker.is_alive());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!worker.is_alive());
    }

    #[test]
    fn names_with_parentheses_do_not_shift_the_fields() {
        let fields: Vec<String> = (4..=30).map(|i| i.to_string()).collect();
        let stat = format!("77 (a) b (c)) S {}", fields.join(" "));
        assert_eq!(parse_stat(&stat), Some(22));
        assert_eq!(parse_stat(&stat.replace(") S ", ") Z ")), None);
        assert_eq!(parse_stat("nonsense"), None);
    }
}
