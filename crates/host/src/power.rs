//! What governs the clock and the battery, from `/sys` under a root.

use std::fs::{self, File};
use std::path::Path;

use super::info::PowerInfo;

/// Reads governor, power supplies and the permission to read the energy counter. What is not told stays empty.
pub(crate) fn read(root: &Path) -> PowerInfo {
    let trimmed = |path: &Path| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let governor = trimmed(&root.join("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"));
    let supplies = fs::read_dir(root.join("sys/class/power_supply")).into_iter().flatten().flatten();
    let (mut on_mains, mut batteries) = (false, Vec::new());
    for supply in supplies.map(|entry| entry.path()) {
        // Mice and headsets have batteries too; those of the machine have no scope, or `System`.
        let of_device = trimmed(&supply.join("scope")).is_some_and(|scope| scope == "Device");
        match trimmed(&supply.join("type")).as_deref() {
            Some("Battery") if !of_device => batteries.push(trimmed(&supply.join("status"))),
            Some("Mains" | "USB") => on_mains |= trimmed(&supply.join("online")).as_deref() == Some("1"),
            _ => {}
        }
    }
    let draining = batteries.iter().any(|status| status.as_deref() == Some("Discharging"));
    PowerInfo {
        governor: governor.filter(|name| !name.is_empty()),
        on_battery: (!batteries.is_empty()).then_some(draining && !on_mains),
        energy_counter: File::open(root.join("sys/class/powercap/intel-rapl:0/energy_uj")).is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> PowerInfo {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join("sys").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{text}\n")).unwrap();
        }
        read(root.path())
    }

    #[test]
    fn batteries_of_the_machine_count_those_of_a_mouse_do_not() {
        let battery = |status| ("class/power_supply/BAT0/status", status);
        let kind = ("class/power_supply/BAT0/type", "Battery");
        let mains = ("class/power_supply/AC/type", "Mains");
        let online = |on| ("class/power_supply/AC/online", on);
        assert_eq!(machine(&[]), PowerInfo::default());
        assert_eq!(machine(&[kind, battery("Discharging")]).on_battery, Some(true));
        assert_eq!(machine(&[kind, battery("Discharging"), mains, online("0")]).on_battery, Some(true));
        assert_eq!(machine(&[kind, battery("Discharging"), mains, online("1")]).on_battery, Some(false));
        assert_eq!(machine(&[kind, battery("Full")]).on_battery, Some(false));
        let mouse = ("class/power_supply/BAT0/scope", "Device");
        assert_eq!(machine(&[kind, battery("Discharging"), mouse]).on_battery, None);
    }

    #[test]
    fn governor_and_energy_counter_are_found() {
        let found = machine(&[
            ("devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance"),
            ("class/powercap/intel-rapl:0/energy_uj", "1"),
        ]);
        assert_eq!(found.governor.as_deref(), Some("performance"));
        assert!(found.energy_counter);
    }
}
