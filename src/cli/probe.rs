//! `autotune probe`: the machine as a table, or as JSON.
//!
//! The output is composed of parts: other modules add theirs to the host's, a `Section` to `sections` and a field to
//! `Output`.

use serde::Serialize;

use super::args::ProbeArgs;
use super::printer::Printer;
use super::probe_sandbox::SandboxState;
use crate::exit::{Exit, Expected};
use crate::host;
use crate::host::{CacheInfo, CacheKind, HostInfo, ProbeOptions};
use crate::units::Bytes;
use crate::worker::fault::told;

/// Runs the command.
///
/// # Errors
/// A machine that cannot be probed.
pub fn run(args: &ProbeArgs, printer: &mut Printer) -> anyhow::Result<Exit> {
    let options = ProbeOptions { refresh: args.refresh, ..ProbeOptions::default() };
    let host = host::probe(&options).map_err(|error| {
        let chain = told(&error.into());
        Expected::environment(format!("failed to probe this machine: {chain}"))
    })?;
    for warning in &host.warnings {
        printer.warn(&warning.to_string());
    }
    let output = Output { host: &host, sandbox: Some(SandboxState::probe()) };
    if args.json {
        printer.data(&serde_json::to_string_pretty(&output)?);
    } else {
        printer.data(&render(&sections(&output)));
    }
    Ok(Exit::Success)
}

/// All that the command knows: the JSON, field by field.
#[derive(Debug, Serialize)]
struct Output<'a> {
    #[serde(flatten)]
    host: &'a HostInfo,
    #[serde(skip_serializing_if = "Option::is_none")]
    sandbox: Option<SandboxState>,
}

/// A titled part of the table.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) rows: Vec<(&'static str, String)>,
}

fn sections(output: &Output<'_>) -> Vec<Section> {
    let host = output.host;
    let of_host = [system(host), processor(host), memory(host), gpus(host), ceilings(host)];
    of_host.into_iter().chain(output.sandbox.as_ref().map(SandboxState::section)).collect()
}

/// Titles at the margin, names and values in two columns, an empty line between sections.
fn render(sections: &[Section]) -> String {
    let width =
        sections.iter().flat_map(|section| &section.rows).map(|(name, _)| name.len()).max().unwrap_or(0);
    let texts: Vec<String> = sections
        .iter()
        .map(|section| {
            let rows = section.rows.iter().map(|(name, value)| format!("\n  {name:width$}  {value}"));
            section.title.to_owned() + &rows.collect::<String>()
        })
        .collect();
    texts.join("\n\n")
}

fn system(host: &HostInfo) -> Section {
    let mut rows = vec![
        ("name", host.os.name.clone()),
        ("kernel", format!("{} ({})", host.os.kernel, host.os.arch)),
        ("fingerprint", host.fingerprint.clone()),
    ];
    if let Some(load) = host.load {
        rows.push((
            "load",
            format!("{:.2} {:.2} {:.2} over 1, 5 and 15 minutes", load.one, load.five, load.fifteen),
        ));
    }
    if let Some(disk) = &host.disk {
        let (free, total) = (Bytes(disk.free_bytes), Bytes(disk.total_bytes));
        rows.push(("disk", format!("{free} free of {total} at {}", disk.path.display())));
    }
    if let Some(governor) = &host.power.governor {
        rows.push(("clock", format!("governor {governor}")));
    }
    if let Some(on_battery) = host.power.on_battery {
        rows.push(("power", if on_battery { "battery" } else { "mains" }.to_owned()));
    }
    rows.push((
        "energy",
        if host.power.energy_counter { "counter readable" } else { "counter not readable" }.to_owned(),
    ));
    Section { title: "System", rows }
}

fn processor(host: &HostInfo) -> Section {
    let cpu = &host.cpu;
    let mut usable = cpu.usable_threads.to_string();
    if cpu.affinity_cores < cpu.logical_cores {
        usable += &format!(", affinity {} of {}", cpu.affinity_cores, cpu.logical_cores);
    }
    if let Some(quota) = cpu.quota_cores {
        usable += &format!(", quota {quota:.2} cores");
    }
    let mut rows = vec![
        ("model", format!("{} ({})", cpu.model, cpu.vendor)),
        ("cores", format!("{} physical, {} logical", cpu.physical_cores, cpu.logical_cores)),
        ("usable threads", usable),
    ];
    if !cpu.isa.is_empty() {
        rows.push(("instructions", cpu.isa.join(" ")));
    }
    if !cpu.caches.is_empty() {
        rows.push(("caches", cpu.caches.iter().map(cache).collect::<Vec<_>>().join(", ")));
    }
    Section { title: "Processor", rows }
}

/// `L2 2 x 1 MiB`: caches have sizes in powers of two.
fn cache(cache: &CacheInfo) -> String {
    let kind = match cache.kind {
        CacheKind::Data => "d",
        CacheKind::Instruction => "i",
        CacheKind::Unified => "",
    };
    let (size, unit) = if cache.bytes >= 1 << 20 {
        (cache.bytes as f64 / 1048576.0, "MiB")
    } else {
        (cache.bytes as f64 / 1024.0, "KiB")
    };
    let times = if cache.instances > 1 { format!("{} x ", cache.instances) } else { String::new() };
    format!("L{}{kind} {times}{size} {unit}", cache.level)
}

fn memory(host: &HostInfo) -> Section {
    let memory = &host.memory;
    let of = |part, whole, word: &str| format!("{}, {} {word}", Bytes(whole), Bytes(part));
    let mut rows = vec![("RAM", of(memory.ram_available_bytes, memory.ram_total_bytes, "available"))];
    if memory.swap_total_bytes > 0 {
        rows.push(("swap", of(memory.swap_free_bytes, memory.swap_total_bytes, "free")));
    }
    if let Some(limit) = memory.cgroup_limit_bytes {
        let left =
            memory.cgroup_free_bytes.map_or_else(String::new, |free| format!(", {} left", Bytes(free)));
        rows.push(("cgroup limit", format!("{}{left}", Bytes(limit))));
    }
    if let Some(limit) = memory.address_space_limit_bytes {
        rows.push(("address space", format!("limited to {}", Bytes(limit))));
    }
    rows.push(("usable", of(memory.usable_now_bytes, memory.usable_bytes, "now")));
    rows.push(("tier", format!("{} (try --space {})", host.tier, host.tier.space())));
    Section { title: "Memory", rows }
}

fn gpus(host: &HostInfo) -> Section {
    let mut rows = Vec::new();
    for gpu in &host.gpus {
        let mut text = format!(
            "{}, {} free of {}, driver {}",
            gpu.name,
            Bytes(gpu.memory_free_bytes),
            Bytes(gpu.memory_total_bytes),
            gpu.driver
        );
        if let Some(capability) = &gpu.compute_capability {
            text += &format!(", compute capability {capability}");
        }
        if let Some(watts) = gpu.power_limit_w {
            text += &format!(", limit {watts:.0} W");
        }
        rows.push(("GPU", text));
    }
    if rows.is_empty() {
        rows.push(("GPU", "none found".to_owned()));
    }
    Section { title: "Accelerators", rows }
}

fn ceilings(host: &HostInfo) -> Section {
    let ceilings = &host.ceilings;
    let pair = |all: f64, one: f64, scale: f64, unit: &str| {
        let one = format!("{:.1} {unit} on one thread", one / scale);
        if ceilings.threads == 1 {
            one
        } else {
            format!("{:.1} {unit} on {} threads, {one}", all / scale, ceilings.threads)
        }
    };
    let read = pair(ceilings.read_bytes_per_s, ceilings.read_bytes_per_s_one_thread, 1e9, "GB/s");
    let add =
        pair(ceilings.multiply_add_flop_per_s, ceilings.multiply_add_flop_per_s_one_thread, 1e9, "Gflop/s");
    let when =
        i64::try_from(ceilings.measured_unix_s).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    let when = when.map_or_else(
        || "at an unknown time".to_owned(),
        |when| when.strftime("%Y-%m-%d %H:%M UTC").to_string(),
    );
    let from = if ceilings.from_cache { "; --refresh re-measures" } else { "" };
    let rows = vec![
        ("memory read", read),
        ("f32 multiply-add", format!("{add} ({})", ceilings.multiply_add_isa)),
        ("measured", when + from),
    ];
    Section { title: "Measured ceilings", rows }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine in every detail.
    fn host() -> HostInfo {
        serde_json::from_str(include_str!("../../tests/data/host.json")).unwrap()
    }

    #[test]
    fn the_table_is_calm_and_complete() {
        let host = host();
        insta::assert_snapshot!(render(&sections(&Output { host: &host, sandbox: None })), @r"
        System
          name              Debian GNU/Linux 12
          kernel            6.1.0-18-amd64 (x86_64)
          fingerprint       0123456789abcdef
          load              4.25 1.50 0.75 over 1, 5 and 15 minutes
          disk              212 GB free of 500 GB at /home/user/work
          clock             governor powersave
          power             battery
          energy            counter not readable

        Processor
          model             AMD Ryzen 7 7840U (AuthenticAMD)
          cores             8 physical, 16 logical
          usable threads    6, affinity 12 of 16, quota 6.50 cores
          instructions      avx2 fma avx512f
          caches            L1d 8 x 32 KiB, L1i 8 x 32 KiB, L2 8 x 1 MiB, L3 16 MiB

        Memory
          RAM               33.3 GB, 29.1 GB available
          swap              8.00 GB, 7.90 GB free
          cgroup limit      12.0 GB, 11.5 GB left
          address space     limited to 64.0 GB
          usable            12.0 GB, 11.5 GB now
          tier              edge (try --space edge)

        Accelerators
          GPU               NVIDIA GeForce RTX 4060, 8.10 GB free of 8.59 GB, driver 555.42.06, compute capability 8.9, limit 115 W

        Measured ceilings
          memory read       61.2 GB/s on 6 threads, 28.4 GB/s on one thread
          f32 multiply-add  912.3 Gflop/s on 6 threads, 158.7 Gflop/s on one thread (avx512f)
          measured          2026-01-01 00:00 UTC; --refresh re-measures
        ");
    }

    #[test]
    fn a_bare_machine_needs_few_lines() {
        let mut host = host();
        host.gpus.clear();
        host.cpu.caches.clear();
        host.cpu.isa.clear();
        host.cpu.quota_cores = None;
        host.cpu.affinity_cores = host.cpu.logical_cores;
        host.memory.swap_total_bytes = 0;
        host.memory.cgroup_limit_bytes = None;
        host.memory.address_space_limit_bytes = None;
        host.power = host::PowerInfo::default();
        (host.load, host.disk) = (None, None);
        host.ceilings.threads = 1;
        host.ceilings.from_cache = false;
        insta::assert_snapshot!(render(&sections(&Output { host: &host, sandbox: None })), @r"
        System
          name              Debian GNU/Linux 12
          kernel            6.1.0-18-amd64 (x86_64)
          fingerprint       0123456789abcdef
          energy            counter not readable

        Processor
          model             AMD Ryzen 7 7840U (AuthenticAMD)
          cores             8 physical, 16 logical
          usable threads    6

        Memory
          RAM               33.3 GB, 29.1 GB available
          usable            12.0 GB, 11.5 GB now
          tier              edge (try --space edge)

        Accelerators
          GPU               none found

        Measured ceilings
          memory read       28.4 GB/s on one thread
          f32 multiply-add  158.7 Gflop/s on one thread (avx512f)
          measured          2026-01-01 00:00 UTC
        ");
    }

    #[test]
    fn json_is_the_host_and_comes_back() {
        let host = host();
        let text = serde_json::to_string_pretty(&Output { host: &host, sandbox: None }).unwrap();
        assert_eq!(text.trim(), include_str!("../../tests/data/host.json").trim());
        let back: HostInfo = serde_json::from_str(&text).unwrap();
        assert_eq!(back, host);
    }

    #[test]
    fn warnings_read_well() {
        let texts: Vec<String> = host().warnings.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(texts.join("\n"), @r"
        the ceilings were measured on a busy machine (load 4.2, usable threads 6); `autotune probe --refresh` re-measures them
        memory for a buffer of 20.0 MB next to caches of 16.8 MB: the read ceilings may be too high
        neither XDG_CACHE_HOME nor HOME is set, so the ceilings are measured at every start
        cannot keep the ceilings in /home/user/.cache/autotune/ceilings-0123456789abcdef.json: Permission denied (os error 13); they are measured at every start
        the machine runs on its battery: expect slower and less steady measurements
        ");
    }
}
