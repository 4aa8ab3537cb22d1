//! The probe on machines made of files, and the command on this one.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

use std::cell::Cell;
use std::fs;
use std::path::Path;

use assert_cmd::Command;
use autotune::host::{
    Ceilings, Effort, GpuInfo, GpuProbe, HostError, HostInfo, HostWarning, ProbeOptions, Sources, Tier,
    probe_with,
};
use predicates::prelude::*;

struct OneGpu;

impl GpuProbe for OneGpu {
    fn gpus(&self) -> Vec<GpuInfo> {
        vec![GpuInfo {
            name: "Fake GPU".into(),
            memory_total_bytes: 8 << 30,
            memory_free_bytes: 7 << 30,
            driver: "1.0".into(),
            compute_capability: Some("9.0".into()),
            power_limit_w: Some(250.0),
        }]
    }
}

/// A container with 5 of 8 cores by affinity, a quota of 3.5 cores and 2 GB of memory.
fn container() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let files = [
        ("proc/self/status", "Cpus_allowed_list:\t0-3,7\n"),
        ("proc/self/cgroup", "0::/box\n"),
        ("proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"),
        ("sys/fs/cgroup/box/cpu.max", "350000 100000\n"),
        ("sys/fs/cgroup/box/memory.max", "2000000000\n"),
        ("sys/fs/cgroup/box/memory.current", "500000000\n"),
        ("sys/devices/system/cpu/cpu0/cache/index0/level", "2\n"),
        ("sys/devices/system/cpu/cpu0/cache/index0/type", "Unified\n"),
        ("sys/devices/system/cpu/cpu0/cache/index0/size", "4M\n"),
        ("sys/devices/system/cpu/cpu0/cache/index0/shared_cpu_list", "0-7\n"),
    ];
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn ceilings(threads: u32, effort: Effort) -> Ceilings {
    Ceilings {
        threads,
        read_bytes_per_s: 4e10,
        read_bytes_per_s_one_thread: 2e10,
        multiply_add_flop_per_s: 3e11,
        multiply_add_flop_per_s_one_thread: 1e11,
        multiply_add_isa: "fake".into(),
        buffer_bytes: effort.buffer_bytes,
        measured_unix_s: 1,
        load_before: None,
        from_cache: false,
    }
}

/// Probes the container; counts how often the meter ran.
fn ask(root: &Path, cache: &Path, refresh: bool, measured: &Cell<u32>) -> HostInfo {
    let options = ProbeOptions {
        refresh,
        cache_dir: Some(cache.to_owned()),
        disk_path: Some(cache.to_owned()),
        ..ProbeOptions::default()
    };
    let meter = |threads, effort| {
        measured.set(measured.get() + 1);
        Ok(ceilings(threads, effort))
    };
    probe_with(&options, &Sources { root, gpus: &OneGpu, meter: &meter }).unwrap()
}

#[test]
fn a_container_gets_what_it_was_given_and_no_more() {
    let (root, cache) = (container(), tempfile::tempdir().unwrap());
    let host = ask(root.path(), cache.path(), true, &Cell::new(0));
    assert_eq!((host.cpu.affinity_cores, host.cpu.quota_cores, host.usable_threads()), (5, Some(3.5), 3));
    assert_eq!(host.ceilings.threads, 3);
    assert_eq!(host.usable_bytes(), host.memory.ram_total_bytes.min(2_000_000_000));
    assert!(host.memory.usable_now_bytes <= 1_500_000_000);
    assert_eq!(host.tier, Tier::Tiny);
    assert_eq!(host.cpu.last_level_cache_bytes(), Some(4 << 20));
    assert_eq!(host.gpus[0].name, "Fake GPU");
    // A quarter of the memory to be had, of which there is at most 1.5 GB.
    assert!(host.ceilings.buffer_bytes <= 375_000_000);
    assert!(host.disk.unwrap().total_bytes > 0);
}

#[test]
fn ceilings_are_measured_once_for_each_machine() {
    let (root, cache) = (container(), tempfile::tempdir().unwrap());
    let measured = Cell::new(0);
    let first = ask(root.path(), cache.path(), true, &measured);
    let kept: Vec<_> = fs::read_dir(cache.path()).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!((kept.len(), measured.get(), first.ceilings.from_cache), (1, 1, false));
    assert!(kept[0].to_string_lossy().contains(&first.fingerprint));

    // Busy figures would be measured again on a calm machine: say that these were not.
    let calm = fs::read_to_string(&kept[0]).unwrap();
    let mut calm: serde_json::Value = serde_json::from_str(&calm).unwrap();
    calm["ceilings"]["load_before"] = 0.0.into();
    fs::write(&kept[0], calm.to_string()).unwrap();
    let second = ask(root.path(), cache.path(), false, &measured);
    assert_eq!((measured.get(), second.ceilings.from_cache), (1, true));
    assert_eq!(second.fingerprint, first.fingerprint);

    fs::write(&kept[0], "{ broken").unwrap();
    let third = ask(root.path(), cache.path(), false, &measured);
    assert_eq!((measured.get(), third.ceilings.from_cache), (2, false));
    assert!(fs::read_to_string(&kept[0]).unwrap().contains("read_bytes_per_s"), "written anew");

    // Another quota is another machine.
    fs::write(root.path().join("sys/fs/cgroup/box/cpu.max"), "max 100000\n").unwrap();
    let fourth = ask(root.path(), cache.path(), false, &measured);
    assert_eq!((measured.get(), fourth.usable_threads()), (3, 5));
    assert_ne!(fourth.fingerprint, first.fingerprint);
}

#[test]
fn a_cache_that_cannot_be_written_is_a_warning() {
    let (root, file) = (container(), tempfile::NamedTempFile::new().unwrap());
    let host = ask(root.path(), file.path(), false, &Cell::new(0));
    assert!(
        host.warnings.iter().any(|w| matches!(w, HostWarning::CacheNotWritten { .. })),
        "{:?}",
        host.warnings
    );
}

#[test]
fn a_meter_that_fails_is_the_probes_error() {
    let (root, cache) = (container(), tempfile::tempdir().unwrap());
    let options = ProbeOptions { cache_dir: Some(cache.path().to_owned()), ..ProbeOptions::default() };
    let meter = |_, effort: Effort| Err(HostError::Memory { bytes: effort.buffer_bytes });
    let refused =
        probe_with(&options, &Sources { root: root.path(), gpus: &OneGpu, meter: &meter }).unwrap_err();
    assert!(refused.to_string().contains("ulimit -v"), "{refused}");
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0, "nothing is kept");
}

fn autotune(cache: &Path) -> Command {
    let mut command = Command::cargo_bin("autotune").unwrap();
    command.env("XDG_CACHE_HOME", cache);
    command
}

#[test]
fn the_command_prints_json_a_table_and_remembers() {
    let cache = tempfile::tempdir().unwrap();
    let json = || {
        let output =
            autotune(cache.path()).args(["probe", "--json"]).assert().success().get_output().stdout.clone();
        serde_json::from_slice::<HostInfo>(&output).unwrap()
    };
    let first = json();
    assert!(first.usable_threads() >= 1 && first.memory.ram_total_bytes > 0);
    assert!(first.memory.usable_now_bytes <= first.memory.usable_bytes);
    assert!(!first.ceilings.from_cache);
    let files = fs::read_dir(cache.path().join("autotune")).unwrap().count();
    assert_eq!(files, 1);
    let second = json();
    assert_eq!(second.fingerprint, first.fingerprint);

    let table = autotune(cache.path()).args(["probe", "--quiet"]).assert().success();
    table.stdout(
        predicate::str::contains("usable threads").and(predicate::str::contains(&*first.fingerprint)),
    );
}

#[test]
fn the_command_goes_on_without_a_writable_cache() {
    let file = tempfile::NamedTempFile::new().unwrap();
    autotune(file.path())
        .arg("probe")
        .assert()
        .success()
        .stderr(predicate::str::contains("warning: cannot keep the ceilings"))
        .stdout(predicate::str::contains("Measured ceilings"));
}
