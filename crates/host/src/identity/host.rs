//! The class of a machine, in components: what a measured number would change with.

use super::{Component, Part};
use crate::HostInfo;
use autotune_core::units::Bytes;

/// Processor, usable cores, memory limit and GPUs of a probed machine.
#[must_use]
pub fn host_parts(host: &HostInfo) -> [(Component, Part); 4] {
    let cpu = &host.cpu;
    let processor = format!(
        "{} ({}, {}), {} physical and {} logical cores, {}",
        cpu.model,
        cpu.vendor,
        host.os.arch,
        cpu.physical_cores,
        cpu.logical_cores,
        cpu.isa.join(" ")
    );
    let quota = cpu.quota_cores.map_or(String::new(), |q| format!(" and a quota of {q:.2} cores"));
    let cores =
        format!("{} usable (of an affinity mask of {}{quota})", cpu.usable_threads, cpu.affinity_cores);
    let memory = &host.memory;
    // The kernel keeps a little more or less of the RAM for itself after an update; a limit is a number that somebody set.
    let memory = if memory.usable_bytes < memory.ram_total_bytes {
        format!("a limit of {}", Bytes(memory.usable_bytes))
    } else {
        format!("{:.0} GiB of RAM without a limit", memory.ram_total_bytes as f64 / f64::from(1 << 30))
    };
    let gpus: Vec<String> =
        host.gpus.iter().map(|g| format!("{} of {}", g.name, Bytes(g.memory_total_bytes))).collect();
    let gpus = if gpus.is_empty() { "none".to_owned() } else { gpus.join(", ") };
    [
        (Component::Processor, Part::plain(processor)),
        (Component::Cores, Part::plain(cores)),
        (Component::Memory, Part::plain(memory)),
        (Component::Gpus, Part::plain(gpus)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> HostInfo {
        let text = include_str!("../../../../tests/data/host.json");
        serde_json::from_str(text).unwrap()
    }

    fn differing(change: impl Fn(&mut HostInfo)) -> Vec<Component> {
        let (before, mut after) = (host(), host());
        change(&mut after);
        let pairs = host_parts(&before).into_iter().zip(host_parts(&after));
        pairs.filter(|(a, b)| a.1 != b.1).map(|(a, _)| a.0).collect()
    }

    #[test]
    fn each_fact_belongs_to_one_component_and_passing_ones_to_none() {
        assert_eq!(differing(|h| h.cpu.model = "other".into()), [Component::Processor]);
        assert_eq!(differing(|h| h.cpu.usable_threads = 1), [Component::Cores]);
        assert_eq!(differing(|h| h.memory.usable_bytes /= 2), [Component::Memory]);
        assert_eq!(differing(|h| h.gpus.clear()).len(), usize::from(!host().gpus.is_empty()));
        assert_eq!(
            differing(|h| {
                h.load = None;
                h.memory.usable_now_bytes /= 2;
                h.memory.ram_available_bytes /= 2;
                h.disk = None;
                h.os.kernel = "newer".into();
            }),
            []
        );
    }
}
