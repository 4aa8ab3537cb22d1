//! The name of a machine, made of what does not change between two runs on it.

use sha2::{Digest, Sha256};

use super::info::{CpuInfo, GpuInfo};

/// The first 16 hexadecimal digits of a SHA-256 over CPU model, cores, usable threads, RAM to the GiB (the kernel keeps a little more
/// or less for itself after an update), GPUs and architecture.
pub(crate) fn fingerprint(arch: &str, cpu: &CpuInfo, ram_total_bytes: u64, gpus: &[GpuInfo]) -> String {
    let ram_gib = (ram_total_bytes as f64 / (1u64 << 30) as f64).round();
    let mut facts = vec![
        arch.to_owned(),
        cpu.model.clone(),
        cpu.vendor.clone(),
        cpu.physical_cores.to_string(),
        cpu.logical_cores.to_string(),
        cpu.usable_threads.to_string(),
        ram_gib.to_string(),
    ];
    for gpu in gpus {
        facts.push(format!("{} {}", gpu.name, gpu.memory_total_bytes));
    }
    // Lengths before the texts: two lists never run into the same bytes.
    let mut hash = Sha256::new();
    for fact in facts {
        hash.update((fact.len() as u64).to_le_bytes());
        hash.update(fact.as_bytes());
    }
    autotune_core::hex::encode(&hash.finalize()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu() -> CpuInfo {
        CpuInfo {
            model: "Model".into(),
            vendor: "Vendor".into(),
            physical_cores: 4,
            logical_cores: 8,
            affinity_cores: 8,
            quota_cores: None,
            usable_threads: 8,
            isa: Vec::new(),
            caches: Vec::new(),
        }
    }

    fn gpu(free: u64) -> GpuInfo {
        GpuInfo {
            name: "G".into(),
            memory_total_bytes: 100,
            memory_free_bytes: free,
            driver: "1".into(),
            compute_capability: None,
            power_limit_w: None,
        }
    }

    #[test]
    fn only_lasting_facts_change_it() {
        let base = fingerprint("x86_64", &cpu(), 16 << 30, &[gpu(1)]);
        assert_eq!(base.len(), 16);
        assert_eq!(
            base,
            fingerprint("x86_64", &cpu(), (16 << 30) - (1 << 27), &[gpu(2)]),
            "RAM nearly equal, GPU in use"
        );
        let other = [
            fingerprint("aarch64", &cpu(), 16 << 30, &[gpu(1)]),
            fingerprint("x86_64", &CpuInfo { usable_threads: 4, ..cpu() }, 16 << 30, &[gpu(1)]),
            fingerprint(
                "x86_64",
                &CpuInfo { model: "Mode".into(), vendor: "lVendor".into(), ..cpu() },
                16 << 30,
                &[gpu(1)],
            ),
            fingerprint("x86_64", &cpu(), 32 << 30, &[gpu(1)]),
            fingerprint("x86_64", &cpu(), 16 << 30, &[]),
        ];
        assert!(other.iter().all(|print| *print != base), "{other:?}");
    }
}
