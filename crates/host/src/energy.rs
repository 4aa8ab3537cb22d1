//! Energy that the machine used, where it can be read: RAPL counters of the processor packages (`/sys/class/powercap`), and NVIDIA GPUs.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Something that counts energy.
pub trait EnergyMeter {
    /// Joules since some moment, for each counter by name, with the value at which the counter begins anew where it does. Empty: not
    /// measurable here.
    fn read(&self) -> Vec<Counter>;
}

/// One counter's state.
#[derive(Clone, Debug, PartialEq)]
pub struct Counter {
    /// Its name, for example `package-0`.
    pub name: String,
    /// Joules.
    pub joules: f64,
    /// Joules at which it begins anew.
    pub wraps_at: Option<f64>,
}

/// Energy between two readings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Energy {
    /// Joules, over all counters.
    pub joules: f64,
    /// The counters that it is the sum of.
    pub counters: Vec<String>,
}

/// The joules between two readings, over the counters that both have; none without any. A counter that began anew once is corrected.
#[must_use]
pub fn between(before: &[Counter], after: &[Counter]) -> Option<Energy> {
    let mut energy = Energy { joules: 0.0, counters: Vec::new() };
    for now in after {
        let Some(then) = before.iter().find(|c| c.name == now.name) else { continue };
        let mut joules = now.joules - then.joules;
        if joules < 0.0 {
            joules += now.wraps_at.unwrap_or(0.0);
        }
        if joules >= 0.0 {
            energy.joules += joules;
            energy.counters.push(now.name.clone());
        }
    }
    (!energy.counters.is_empty()).then_some(energy)
}

/// The processor packages' counters of the powercap interface.
#[derive(Clone, Debug)]
pub struct Rapl {
    root: PathBuf,
}

impl Rapl {
    /// Counters under the root of a file system.
    #[must_use]
    pub fn under(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }
}

impl EnergyMeter for Rapl {
    fn read(&self) -> Vec<Counter> {
        let zones = fs::read_dir(self.root.join("sys/class/powercap")).into_iter().flatten().flatten();
        let mut counters: Vec<Counter> = zones
            .filter_map(|zone| {
                // `intel-rapl:0` is a package (AMD's, too); `intel-rapl:0:0` is a part of it, which would count twice.
                let folder = zone.file_name().into_string().ok()?;
                let package = folder.strip_prefix("intel-rapl:")?;
                if package.contains(':') {
                    return None;
                }
                let text = |name: &str| fs::read_to_string(zone.path().join(name)).ok();
                let micro = |name: &str| text(name)?.trim().parse::<f64>().ok().map(|uj| uj * 1e-6);
                let name = text("name").map_or_else(|| folder.clone(), |n| n.trim().to_owned());
                // The whole platform contains the packages.
                (name != "psys").then_some(())?;
                Some(Counter { name, joules: micro("energy_uj")?, wraps_at: micro("max_energy_range_uj") })
            })
            .collect();
        counters.sort_by(|a, b| a.name.cmp(&b.name));
        counters
    }
}

/// NVIDIA GPUs that count energy (Volta and later).
#[derive(Clone, Copy, Debug, Default)]
pub struct NvmlEnergy;

impl EnergyMeter for NvmlEnergy {
    fn read(&self) -> Vec<Counter> {
        let Ok(nvml) = nvml_wrapper::Nvml::init() else { return Vec::new() };
        let count = nvml.device_count().unwrap_or(0);
        (0..count)
            .filter_map(|index| {
                let millijoules = nvml.device_by_index(index).ok()?.total_energy_consumption().ok()?;
                let joules = millijoules as f64 / 1000.0;
                Some(Counter { name: format!("gpu-{index}"), joules, wraps_at: None })
            })
            .collect()
    }
}

/// All counters of this machine; those of its GPUs only for what runs on one, since a GPU that does nothing for us is no part of the
/// cost.
#[must_use]
pub fn machine(gpus: bool) -> Vec<Counter> {
    let mut all = Rapl::under(Path::new("/")).read();
    if gpus {
        all.extend(NvmlEnergy.read());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(root: &Path, folder: &str, name: &str, energy_uj: &str) {
        let path = root.join("sys/class/powercap").join(folder);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("name"), format!("{name}\n")).unwrap();
        fs::write(path.join("energy_uj"), format!("{energy_uj}\n")).unwrap();
        fs::write(path.join("max_energy_range_uj"), "262143000000\n").unwrap();
    }

    #[test]
    fn packages_are_summed_and_their_parts_are_not() {
        let root = tempfile::tempdir().unwrap();
        let meter = Rapl::under(root.path());
        assert!(meter.read().is_empty());
        zone(root.path(), "intel-rapl:0", "package-0", "1000000");
        zone(root.path(), "intel-rapl:0:0", "core", "900000");
        zone(root.path(), "intel-rapl:1", "package-1", "262142000000");
        zone(root.path(), "intel-rapl:2", "psys", "5");
        let before = meter.read();
        assert_eq!(before.len(), 2);
        zone(root.path(), "intel-rapl:0", "package-0", "31000000");
        // Began anew.
        zone(root.path(), "intel-rapl:1", "package-1", "9000000");
        let energy = between(&before, &meter.read()).unwrap();
        assert!((energy.joules - 40.0).abs() < 1e-6, "{energy:?}");
        assert_eq!(energy.counters, ["package-0", "package-1"]);
        assert_eq!(between(&[], &before), None);
    }

    #[test]
    fn a_counter_that_may_not_be_read_is_none() {
        let root = tempfile::tempdir().unwrap();
        zone(root.path(), "intel-rapl:0", "package-0", "not a number");
        assert!(Rapl::under(root.path()).read().is_empty());
    }
}
