//! What else the machine did while something was timed: processor time of others and of the hypervisor, pressure, throttling.
//!
//! Two [`Look`]s, before and after; their difference is a [`Disturbance`]. Everything is read from `/proc` and `/sys` under a root; what
//! a system does not tell counts as nothing.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The kernel's counters at one moment.
#[derive(Clone, Debug)]
pub struct Look {
    at: Instant,
    /// Busy time of all cores (user, nice, system, interrupts), in ticks.
    busy_ticks: u64,
    /// Time that the hypervisor gave to others, in ticks.
    steal_ticks: u64,
    cores: u32,
    /// Time for which some task waited for a core, in microseconds.
    waited_us: Option<u64>,
    /// Times that cores were throttled for heat.
    throttled: u64,
    /// Times that cores were throttled by a limit of power.
    power_limited: u64,
}

/// What disturbed a measurement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Disturbance {
    /// Processor time that others used, as a share of all cores' time.
    pub others_share: f64,
    /// Processor time that the hypervisor took, as a share of all cores' time.
    pub steal_share: f64,
    /// Share of the time for which some task of the machine waited for a core; none where the kernel does not tell.
    pub waiting_share: Option<f64>,
    /// Times that a core was throttled for heat.
    pub throttled: u64,
    /// Times that a core was throttled by a limit of power, where the kernel counts them.
    #[serde(default)]
    pub power_limited: u64,
}

/// Others may use this share of all cores before a measurement counts as disturbed.
const OTHERS: f64 = 0.05;
/// The hypervisor may take this share.
const STEAL: f64 = 0.02;

impl Look {
    /// Reads the counters of this machine.
    #[must_use]
    pub fn now() -> Self {
        Self::under(Path::new("/"))
    }

    /// Reads the counters under a root.
    #[must_use]
    pub fn under(root: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        let stat = read("proc/stat");
        let (busy_ticks, steal_ticks) = parse_stat(&stat);
        let cores = stat.lines().filter(|l| l.starts_with("cpu") && !l.starts_with("cpu ")).count();
        Self {
            at: Instant::now(),
            busy_ticks,
            steal_ticks,
            cores: u32::try_from(cores).unwrap_or(1).max(1),
            waited_us: parse_pressure(&read("proc/pressure/cpu")),
            throttled: throttle_events(root, "core_throttle_count"),
            power_limited: throttle_events(root, "core_power_limit_count"),
        }
    }

    /// What happened between an earlier look and this one, beside `own` processor time that is ours.
    #[must_use]
    pub fn since(&self, before: &Look, own: Duration) -> Disturbance {
        self.after(before, self.at.duration_since(before.at), own)
    }

    fn after(&self, before: &Look, wall: Duration, own: Duration) -> Disturbance {
        /// Linux counts in hundredths of a second on every architecture that we run on.
        const TICKS_PER_S: f64 = 100.0;
        let all = wall.as_secs_f64() * f64::from(self.cores);
        if all <= 0.0 {
            return Disturbance::default();
        }
        let seconds = |now: u64, then: u64| now.saturating_sub(then) as f64 / TICKS_PER_S;
        let busy = seconds(self.busy_ticks, before.busy_ticks);
        Disturbance {
            others_share: ((busy - own.as_secs_f64()) / all).clamp(0.0, 1.0),
            steal_share: (seconds(self.steal_ticks, before.steal_ticks) / all).min(1.0),
            waiting_share: self
                .waited_us
                .zip(before.waited_us)
                .map(|(now, then)| (now.saturating_sub(then) as f64 / 1e6 / wall.as_secs_f64()).min(1.0)),
            throttled: self.throttled.saturating_sub(before.throttled),
            power_limited: self.power_limited.saturating_sub(before.power_limited),
        }
    }
}

impl Disturbance {
    /// What was wrong, in words; none when nothing was.
    #[must_use]
    pub fn told(&self) -> Option<String> {
        let mut said = Vec::new();
        if self.others_share > OTHERS {
            said.push(format!("other programs used {:.0} % of the cores", 100.0 * self.others_share));
        }
        if self.steal_share > STEAL {
            said.push(format!("the hypervisor took {:.0} %", 100.0 * self.steal_share));
        }
        if self.throttled > 0 {
            said.push("the processor was throttled for heat".to_owned());
        }
        if self.power_limited > 0 {
            said.push("the processor was throttled by its power limit".to_owned());
        }
        (!said.is_empty()).then(|| said.join(", "))
    }
}

/// Busy and stolen ticks of all cores, from the first line of `/proc/stat`.
fn parse_stat(text: &str) -> (u64, u64) {
    let line = text.lines().find_map(|l| l.strip_prefix("cpu ")).unwrap_or_default();
    let fields: Vec<u64> = line.split_whitespace().map(|f| f.parse().unwrap_or(0)).collect();
    let field = |i: usize| fields.get(i).copied().unwrap_or(0);
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are counted in user already.
    (field(0) + field(1) + field(2) + field(5) + field(6), field(7))
}

/// Total stall of `some` in `/proc/pressure/cpu`, in microseconds.
fn parse_pressure(text: &str) -> Option<u64> {
    let line = text.lines().find(|l| l.starts_with("some"))?;
    line.split_whitespace().find_map(|f| f.strip_prefix("total="))?.parse().ok()
}

fn throttle_events(root: &Path, counter: &str) -> u64 {
    let cpus = fs::read_dir(root.join("sys/devices/system/cpu")).into_iter().flatten().flatten();
    cpus.filter_map(|cpu| {
        let file = cpu.path().join("thermal_throttle").join(counter);
        fs::read_to_string(file).ok()?.trim().parse::<u64>().ok()
    })
    .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(stat: &str, pressure: &str, throttled: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("proc/stat", stat);
        write("proc/pressure/cpu", pressure);
        write("sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", throttled);
        root
    }

    #[test]
    fn the_work_of_others_is_what_is_not_ours() {
        let before = machine(
            "cpu  100 0 50 1000 5 1 2 10 0 0\ncpu0 1\ncpu1 1\nintr 5\n",
            "some avg10=0.00 avg60=0.00 avg300=0.00 total=1000000\n",
            "3\n",
        );
        let after = machine(
            "cpu  1000 0 150 1400 5 2 3 110 0 0\ncpu0 1\ncpu1 1\n",
            "some avg10=0.00 avg60=0.00 avg300=0.00 total=6000000\nfull total=1\n",
            "4\n",
        );
        let (before, after) = (Look::under(before.path()), Look::under(after.path()));
        // Ten seconds of two cores; busy for 10.02 s, 8 of them ours.
        let d = after.after(&before, Duration::from_secs(10), Duration::from_secs(8));
        assert!((d.others_share - 2.02 / 20.0).abs() < 1e-9 && (d.steal_share - 0.05).abs() < 1e-9, "{d:?}");
        assert_eq!((d.waiting_share, d.throttled), (Some(0.5), 1));
        assert_eq!(
            d.told().unwrap(),
            "other programs used 10 % of the cores, the hypervisor took 5 %, the processor was throttled for heat"
        );
        let quiet = after.after(&before, Duration::from_secs(1000), Duration::from_secs(8));
        assert_eq!(Disturbance { throttled: 0, ..quiet }.told(), None);
        let limited = Disturbance { power_limited: 2, ..Disturbance::default() };
        assert_eq!(limited.told().unwrap(), "the processor was throttled by its power limit");
    }

    #[test]
    fn a_machine_that_tells_nothing_is_calm() {
        let root = tempfile::tempdir().unwrap();
        let look = Look::under(root.path());
        assert_eq!(look.after(&look, Duration::from_secs(1), Duration::ZERO), Disturbance::default());
    }
}
