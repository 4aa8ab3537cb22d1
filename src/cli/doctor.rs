//! `autotune doctor`: what a study needs of this machine, each check with a verdict and, where something is wrong, a remedy.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::resource::{Resource, getrlimit};
use serde::Serialize;

use super::args::DoctorArgs;
use super::printer::Printer;
use super::probe_sandbox::SandboxState;
use crate::engine::{EngineKind, torch_worker};
use crate::exit::{Exit, Expected};
use crate::host::{self, HostInfo, ProbeOptions, default_cache_dir, limits};
use crate::units::Bytes;
use crate::worker::fault::told;

/// Free disk space below which no study can keep its artifacts, and below which a model of some billion parameters may not fit, in bytes.
const LEAST_DISK_BYTES: u64 = 1_000_000_000;
const AMPLE_DISK_BYTES: u64 = 20_000_000_000;
/// Usable memory below which not even the demo model can be tuned, in bytes.
const LEAST_MEMORY_BYTES: u64 = 500_000_000;
/// The share of usable memory that should be available now.
const CALM_MEMORY: f64 = 0.5;
/// The share of swap in use from which measurements may include paging.
const SWAP_IN_USE: f64 = 0.25;

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warning,
    Problem,
}

impl Verdict {
    fn text(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Problem => "problem",
        }
    }
}

/// One check.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, found: found.into(), remedy: None }
    }

    fn warning(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Warning, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn problem(name: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Problem, found: found.into(), remedy: Some(remedy.into()) }
    }
}

#[derive(Serialize)]
struct Output<'a> {
    verdict: Verdict,
    checks: &'a [Check],
}

/// Runs the command.
///
/// # Errors
/// A machine that cannot be probed.
pub fn run(args: &DoctorArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let results = args.store.results.clone();
    let options = ProbeOptions { brief: true, disk_path: Some(results.clone()), ..ProbeOptions::default() };
    let host = host::probe(&options)
        .map_err(|e| Expected::environment(format!("failed to probe this machine: {}", told(&e.into()))))?;
    let mut checks = vec![llama(), torch()];
    checks.extend(SandboxState::probe().checks());
    checks.extend([memory(&host), cgroup(&host), swap(&host), disk(&host, &results), cache()]);
    checks.extend([clock(&host), power(&host), load(&host), gpus(&host), open_files(), limits_of_process()]);
    let verdict = checks.iter().map(|c| c.verdict).max().unwrap_or(Verdict::Ok);
    if args.json {
        printer.data(&serde_json::to_string_pretty(&Output { verdict, checks: &checks })?);
    } else {
        printer.data(&render(&checks));
    }
    Ok(if verdict == Verdict::Problem { Exit::Environment } else { Exit::Success })
}

fn render(checks: &[Check]) -> String {
    let width = checks.iter().map(|c| c.name.len()).max().unwrap_or(0);
    let mut lines: Vec<String> = Vec::new();
    for check in checks {
        lines.push(format!("{:<7}  {:width$}  {}", check.verdict.text(), check.name, check.found));
        lines.extend(check.remedy.iter().map(|remedy| format!("{:7}  {:width$}  -> {remedy}", "", "")));
    }
    let count = |verdict| checks.iter().filter(|c| c.verdict == verdict).count();
    let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    lines.push(format!(
        "{}, {}, {}",
        plural(checks.len(), "check"),
        plural(count(Verdict::Warning), "warning"),
        plural(count(Verdict::Problem), "problem")
    ));
    lines.join("\n")
}

fn llama() -> Check {
    const NAME: &str = "engine llama.cpp";
    match EngineKind::LlamaCpp.version() {
        Ok(version) => Check::ok(NAME, version),
        Err(error) => Check::problem(
            NAME,
            error.to_string(),
            "install a build with the default features, or build with `cargo build --release --features llama`",
        ),
    }
}

/// The torch engine is optional: it is a program of its own, which loads libtorch when it starts.
fn torch() -> Check {
    const NAME: &str = "engine torch";
    let version = match EngineKind::Torch.version() {
        Ok(version) => version,
        Err(_) => {
            return Check::ok(
                NAME,
                "not installed (optional: --engine torch, --recover and --importance gradient need it)",
            );
        }
    };
    let worker = torch_worker(&std::env::current_exe().unwrap_or_default());
    let asked = Command::new(&worker).args(["device", "cpu"]).stdin(Stdio::null()).output();
    let reason = match asked {
        Ok(output) if output.status.success() => return Check::ok(NAME, version),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr);
            text.lines().next().map_or_else(|| output.status.to_string(), str::to_owned)
        }
        Err(error) => error.to_string(),
    };
    Check::warning(
        NAME,
        format!("{} does not start: {reason}", worker.display()),
        "add the directory of libtorch 2.11 to LD_LIBRARY_PATH, or build it with `make build`",
    )
}

fn memory(host: &HostInfo) -> Check {
    const NAME: &str = "memory";
    let (usable, now) = (host.usable_bytes(), host.memory.usable_now_bytes);
    let found = format!("{} usable, {} available now", Bytes(usable), Bytes(now));
    if usable < LEAST_MEMORY_BYTES {
        Check::problem(
            NAME,
            found,
            "raise the limit of the container or of `ulimit -v`, or use another machine",
        )
    } else if (now as f64) < CALM_MEMORY * usable as f64 {
        Check::warning(NAME, found, "close other programs, or set a lower --budget")
    } else {
        Check::ok(NAME, found)
    }
}

fn cgroup(host: &HostInfo) -> Check {
    const NAME: &str = "memory limit";
    let memory = &host.memory;
    match (memory.cgroup_limit_bytes, memory.cgroup_free_bytes) {
        (None, _) => Check::ok(NAME, "no control group limits the memory of this process"),
        (Some(limit), Some(free)) if free < limit / 4 => Check::warning(
            NAME,
            format!("control group limit {}, only {} of it free", Bytes(limit), Bytes(free)),
            "end other processes of the container, or raise its memory limit",
        ),
        (Some(limit), _) => Check::ok(NAME, format!("control group limit {}", Bytes(limit))),
    }
}

fn swap(host: &HostInfo) -> Check {
    const NAME: &str = "swap";
    let memory = &host.memory;
    let (total, used) =
        (memory.swap_total_bytes, memory.swap_total_bytes.saturating_sub(memory.swap_free_bytes));
    if total == 0 {
        return Check::ok(NAME, "none");
    }
    let found = format!("{} of {} in use", Bytes(used), Bytes(total));
    if used as f64 > SWAP_IN_USE * total as f64 {
        Check::warning(NAME, found, "paging distorts latency: free some memory before a study")
    } else {
        Check::ok(NAME, found)
    }
}

fn disk(host: &HostInfo, results: &Path) -> Check {
    const NAME: &str = "disk of results";
    let Some(disk) = &host.disk else {
        let text = format!("the free space of {} cannot be read", results.display());
        return Check::warning(NAME, text, "check with `df` that some gigabytes are free");
    };
    let found = format!("{} free at {}", Bytes(disk.free_bytes), disk.path.display());
    let remedy = "free some space, or name another disk with --results";
    match disk.free_bytes {
        free if free < LEAST_DISK_BYTES => Check::problem(NAME, found, remedy),
        free if free < AMPLE_DISK_BYTES => {
            Check::warning(NAME, found, format!("large models may not fit: {remedy}"))
        }
        _ if !may_write(results) => {
            let text = format!("{} is not writable", results.display());
            Check::problem(NAME, text, "change its permissions, or name another directory with --results")
        }
        _ => Check::ok(NAME, found),
    }
}

fn cache() -> Check {
    const NAME: &str = "cache";
    let remedy =
        "set XDG_CACHE_HOME to a writable directory; without it the machine is measured at every start";
    match default_cache_dir() {
        None => Check::warning(NAME, "neither XDG_CACHE_HOME nor HOME is set", remedy),
        Some(path) if may_write(&path) => Check::ok(NAME, path.display().to_string()),
        Some(path) => Check::warning(NAME, format!("{} is not writable", path.display()), remedy),
    }
}

/// Whether a directory, or the nearest parent that exists, may be written.
fn may_write(path: &Path) -> bool {
    let absolute: PathBuf = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let Some(there) = absolute.ancestors().find(|p| p.exists()) else { return false };
    there.is_dir() && nix::unistd::access(there, nix::unistd::AccessFlags::W_OK).is_ok()
}

fn clock(host: &HostInfo) -> Check {
    const NAME: &str = "clock";
    let source = std::fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    let source = source.map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned());
    let governor = host.power.governor.as_deref();
    let found = format!("clock source {source}, frequency governor {}", governor.unwrap_or("unknown"));
    if matches!(governor, Some("powersave" | "conservative")) {
        let remedy = "measurements vary with the frequency: `sudo cpupower frequency-set -g performance` during a study";
        return Check::warning(NAME, found, remedy);
    }
    if matches!(source.as_str(), "hpet" | "acpi_pm" | "jiffies") {
        return Check::warning(
            NAME,
            found,
            "reading this clock is slow: boot with clocksource=tsc where the processor allows it",
        );
    }
    Check::ok(NAME, found)
}

fn power(host: &HostInfo) -> Check {
    const NAME: &str = "power";
    let counter =
        if host.power.energy_counter { "energy counter readable" } else { "energy counter not readable" };
    match host.power.on_battery {
        Some(true) => {
            Check::warning(NAME, format!("on battery, {counter}"), "connect the machine to mains power")
        }
        _ => Check::ok(NAME, counter),
    }
}

fn load(host: &HostInfo) -> Check {
    const NAME: &str = "load";
    let Some(load) = host.load else { return Check::ok(NAME, "not reported by this system") };
    let found = format!("{:.2} over one minute on {} usable threads", load.one, host.usable_threads());
    if host.is_calm() {
        return Check::ok(NAME, found);
    }
    Check::warning(
        NAME,
        found,
        "other processes affect measurements: wait for them, or end them (`top` lists them)",
    )
}

fn gpus(host: &HostInfo) -> Check {
    const NAME: &str = "GPU driver";
    if let Some(gpu) = host.gpus.first() {
        let count = host.gpus.len();
        return Check::ok(NAME, format!("{count} GPU (NVML), {}, driver {}", gpu.name, gpu.driver));
    }
    if Path::new("/dev/nvidiactl").exists() {
        let remedy =
            "install libnvidia-ml.so.1 of the driver's version, and give this user access to /dev/nvidia*";
        return Check::warning(NAME, "an NVIDIA device exists, but NVML does not report it", remedy);
    }
    Check::ok(NAME, "no NVIDIA GPU; studies run on the CPU")
}

fn open_files() -> Check {
    const NAME: &str = "open files";
    let jobs = std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1));
    let limit = getrlimit(Resource::RLIMIT_NOFILE)
        .map_or_else(|_| "unknown".to_owned(), |(soft, _)| soft.to_string());
    match limits::check(jobs) {
        Ok(()) => Check::ok(NAME, format!("limit {limit}")),
        Err(error) => {
            Check::problem(NAME, error.to_string(), "raise the limits with `ulimit -n 1024` and `ulimit -u`")
        }
    }
}

fn limits_of_process() -> Check {
    const NAME: &str = "process limits";
    let remarks = limits::remarks();
    if remarks.is_empty() {
        return Check::ok(NAME, "none on processor time, file size and address space");
    }
    Check::warning(NAME, remarks.join("; "), "raise them with `ulimit`, or start from a shell without them")
}

/// The checks of the sandbox and of the interpreters.
impl SandboxState {
    fn checks(&self) -> Vec<Check> {
        const LAYERS: &str = "sandbox";
        const CGROUPS: &str = "sandbox cgroup";
        let layers = self.layer_names();
        let found = if layers.is_empty() { "no layer is available".to_owned() } else { layers.join(", ") };
        let sandbox = match (self.is_strict(), self.has_seccomp()) {
            (true, _) => Check::ok(LAYERS, found),
            (false, true) => Check::warning(
                LAYERS,
                format!("{found}; without {}", self.missing()),
                "--sandbox strict refuses this machine: use Linux 5.13 or newer with Landlock, and a container that permits it",
            ),
            (false, false) => Check::problem(
                LAYERS,
                found,
                "model-written code is not executed: permit seccomp in the container, or grade without it (--quality kl)",
            ),
        };
        let groups = match self.has_cgroups() {
            true => Check::ok(CGROUPS, "control groups can be created"),
            false => Check::ok(
                CGROUPS,
                "no control group can be created; memory limits are held by rlimits and sampling",
            ),
        };
        let interpreter =
            |name: &'static str, found: Result<String, String>, needed: bool, remedy: &str| match found {
                Ok(text) => Check::ok(name, text),
                Err(reason) if needed => Check::problem(name, reason, remedy),
                Err(reason) => Check::warning(name, reason, remedy),
            };
        vec![
            sandbox,
            groups,
            interpreter(
                "python3",
                self.python(),
                true,
                "install Python 3, which executes the tasks (for example `apt install python3`)",
            ),
            interpreter(
                "node",
                self.javascript(),
                false,
                "install Node.js 18 or newer if tasks in JavaScript are to be graded",
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> HostInfo {
        serde_json::from_str(include_str!("../../tests/data/host.json")).unwrap()
    }

    #[test]
    fn each_verdict_follows_from_what_was_probed() {
        let mut host = host();
        assert_eq!(memory(&host).verdict, Verdict::Ok);
        host.memory.usable_now_bytes = host.memory.usable_bytes / 3;
        assert_eq!(memory(&host).verdict, Verdict::Warning);
        host.memory.usable_bytes = LEAST_MEMORY_BYTES - 1;
        assert_eq!(memory(&host).verdict, Verdict::Problem);

        assert_eq!(swap(&host).verdict, Verdict::Ok);
        host.memory.swap_free_bytes = host.memory.swap_total_bytes / 2;
        assert_eq!(swap(&host).verdict, Verdict::Warning);

        assert_eq!(cgroup(&host).verdict, Verdict::Ok);
        host.memory.cgroup_free_bytes = Some(1);
        assert_eq!(cgroup(&host).verdict, Verdict::Warning);

        host.power.governor = Some("powersave".into());
        assert_eq!(clock(&host).verdict, Verdict::Warning);
        host.power.on_battery = Some(true);
        assert_eq!(power(&host).verdict, Verdict::Warning);
        host.power.on_battery = Some(false);
        assert_eq!(power(&host).verdict, Verdict::Ok);

        assert_eq!(load(&host).verdict, Verdict::Warning, "4.25 on six threads");
        host.load = None;
        assert_eq!(load(&host).verdict, Verdict::Ok);

        let results = tempfile::tempdir().unwrap();
        let mut verdict = |free_bytes| {
            if let Some(disk) = &mut host.disk {
                disk.free_bytes = free_bytes;
            }
            disk(&host, results.path()).verdict
        };
        let verdicts = [LEAST_DISK_BYTES - 1, LEAST_DISK_BYTES, AMPLE_DISK_BYTES].map(&mut verdict);
        assert_eq!(verdicts, [Verdict::Problem, Verdict::Warning, Verdict::Ok]);
    }

    #[test]
    fn a_remedy_stands_below_its_check() {
        let checks = [
            Check::ok("load", "calm"),
            Check::warning("swap", "full", "free it"),
            Check::problem("disk", "full", "empty it"),
        ];
        insta::assert_snapshot!(render(&checks), @r"
        ok       load  calm
        warning  swap  full
                       -> free it
        problem  disk  full
                       -> empty it
        3 checks, 1 warning, 1 problem
        ");
    }
}
