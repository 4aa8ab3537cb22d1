//! What GPUs do while a worker runs on one: its device memory, who else is there, clocks, throttling, power.
//!
//! A [`GpuMeter`] looks; a [`GpuWatch`] collects looks from before the worker's start to its end, and [`GpuUse`] is what they say. The
//! driver tells a process's memory by its process id; in a container, where the ids that it knows are those of the host, the growth of
//! the memory in use since before the start stands for it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, OnceLock};

use nvml_wrapper::Nvml;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::enum_wrappers::device::Clock;
use nvml_wrapper::enums::device::UsedGpuMemory;
use serde::{Deserialize, Serialize};

/// One GPU at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GpuLook {
    /// Device memory in use by all, in bytes.
    pub used_bytes: u64,
    /// Processes that compute on it, each with its device memory in bytes where the driver tells.
    pub processes: Vec<(u32, Option<u64>)>,
    /// Clock of the multiprocessors, in MHz.
    pub clock_mhz: Option<u32>,
    /// Power drawn, in watts.
    pub power_w: Option<f64>,
    /// Share of the last moments in which it computed.
    pub busy_share: Option<f64>,
    /// Why its clocks are held back, where the cause is heat or power.
    pub throttled: Vec<Throttle>,
}

/// Why a GPU's clocks are held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Throttle {
    /// It is too hot.
    Heat,
    /// It draws as much power as it may.
    Power,
    /// The hardware slows down, for heat or power.
    Hardware,
}

impl fmt::Display for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Throttle::Heat => "for heat",
            Throttle::Power => "by its power limit",
            Throttle::Hardware => "by its hardware's protection",
        })
    }
}

/// Where looks come from, so that tests need no GPU.
pub trait GpuMeter: fmt::Debug + Send + Sync {
    /// All GPUs at this moment; empty without a driver.
    fn look(&self) -> Vec<GpuLook>;
}

/// NVIDIA's management library, loaded at the first look.
#[derive(Default)]
pub struct NvmlMeter(OnceLock<Option<Nvml>>);

impl fmt::Debug for NvmlMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NvmlMeter")
    }
}

impl GpuMeter for NvmlMeter {
    fn look(&self) -> Vec<GpuLook> {
        let Some(nvml) = self.0.get_or_init(|| Nvml::init().ok()) else { return Vec::new() };
        let count = nvml.device_count().unwrap_or(0);
        (0..count).filter_map(|index| one(nvml, index)).collect()
    }
}

fn one(nvml: &Nvml, index: u32) -> Option<GpuLook> {
    let device = nvml.device_by_index(index).ok()?;
    let process = |p: nvml_wrapper::struct_wrappers::device::ProcessInfo| {
        let bytes = match p.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => Some(bytes),
            UsedGpuMemory::Unavailable => None,
        };
        (p.pid, bytes)
    };
    Some(GpuLook {
        used_bytes: device.memory_info().ok()?.used,
        processes: device.running_compute_processes().unwrap_or_default().into_iter().map(process).collect(),
        clock_mhz: device.clock_info(Clock::SM).ok(),
        // The library speaks in milliwatts and percent.
        power_w: device.power_usage().ok().map(|milliwatts| f64::from(milliwatts) / 1000.0),
        busy_share: device.utilization_rates().ok().map(|u| f64::from(u.gpu) / 100.0),
        throttled: device.current_throttle_reasons().map(reasons).unwrap_or_default(),
    })
}

/// Idle clocks and clocks that the user set are no disturbance.
fn reasons(all: ThrottleReasons) -> Vec<Throttle> {
    let heat = ThrottleReasons::SW_THERMAL_SLOWDOWN | ThrottleReasons::HW_THERMAL_SLOWDOWN;
    let power = ThrottleReasons::SW_POWER_CAP | ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN;
    [(heat, Throttle::Heat), (power, Throttle::Power), (ThrottleReasons::HW_SLOWDOWN, Throttle::Hardware)]
        .into_iter()
        .filter(|(flags, _)| all.intersects(*flags))
        .map(|(_, throttle)| throttle)
        .collect()
}

/// How a worker's device memory was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceReading {
    /// The driver told it for the process.
    Process,
    /// The growth of the memory in use since before the start: another process that grows meanwhile counts, too.
    Growth,
}

/// What the GPUs did while a worker ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GpuUse {
    /// The worker's largest device memory over all GPUs, in bytes.
    pub peak_bytes: u64,
    /// How that was found.
    pub reading: DeviceReading,
    /// Other processes that computed on a GPU, at most at once.
    pub others: u32,
    /// Share of the moment before the start in which a GPU computed; none where the driver does not tell.
    pub busy_before: Option<f64>,
    /// Lowest and highest clock of the multiprocessors while it ran, in MHz.
    pub clock_mhz: Option<(u32, u32)>,
    /// Mean power of all GPUs while it ran, in watts.
    pub power_w: Option<f64>,
    /// Why clocks were held back meanwhile.
    pub throttled: Vec<Throttle>,
}

/// A GPU may have been busy for this share of the moment before, with what our last worker left.
const BUSY: f64 = 0.1;

impl GpuUse {
    /// What disturbed the run, in words; none when nothing did.
    #[must_use]
    pub fn told(&self) -> Option<String> {
        let mut said = Vec::new();
        match self.others {
            0 => {}
            1 => said.push("another process was on the GPU".to_owned()),
            n => said.push(format!("{n} other processes were on the GPU")),
        }
        if let Some(share) = self.busy_before.filter(|share| *share > BUSY && self.others == 0) {
            said.push(format!("the GPU was {:.0} % busy before", 100.0 * share));
        }
        said.extend(self.throttled.iter().map(|why| format!("the GPU was throttled {why}")));
        (!said.is_empty()).then(|| said.join(", "))
    }
}

/// Collects looks at the GPUs around one worker.
pub struct GpuWatch {
    meter: Arc<dyn GpuMeter>,
    before: Vec<GpuLook>,
    peak: (u64, DeviceReading),
    others: u32,
    clocks: Option<(u32, u32)>,
    power: (f64, u32),
    throttled: BTreeSet<Throttle>,
}

impl GpuWatch {
    /// Looks for the first time, before the worker starts; none where there is no GPU.
    #[must_use]
    pub fn begin(meter: Arc<dyn GpuMeter>) -> Option<Self> {
        let before = meter.look();
        let others = before.iter().map(|g| g.processes.len() as u32).max()?;
        let peak = (0, DeviceReading::Growth);
        let (power, throttled) = ((0.0, 0), BTreeSet::new());
        Some(Self { meter, before, peak, others, clocks: None, power, throttled })
    }

    /// Looks again while the worker `pid` runs; its device memory now, in bytes.
    pub fn look(&mut self, pid: u32) -> u64 {
        let now = self.meter.look();
        let ours: Vec<u64> =
            now.iter().flat_map(|g| &g.processes).filter(|p| p.0 == pid).map(|p| p.1.unwrap_or(0)).collect();
        let told = ours.iter().sum::<u64>();
        let (bytes, reading) = match told {
            0 => {
                let grown =
                    now.iter().zip(&self.before).map(|(n, b)| n.used_bytes.saturating_sub(b.used_bytes));
                (grown.sum(), DeviceReading::Growth)
            }
            told => (told, DeviceReading::Process),
        };
        if bytes > self.peak.0 {
            self.peak = (bytes, reading);
        }
        if !ours.is_empty() {
            let others = now.iter().map(|g| g.processes.iter().filter(|p| p.0 != pid).count() as u32);
            self.others = self.others.max(others.max().unwrap_or(0));
        }
        for clock in now.iter().filter_map(|g| g.clock_mhz) {
            let (low, high) = self.clocks.unwrap_or((clock, clock));
            self.clocks = Some((low.min(clock), high.max(clock)));
        }
        let watts: Vec<f64> = now.iter().filter_map(|g| g.power_w).collect();
        if !watts.is_empty() {
            self.power = (self.power.0 + watts.iter().sum::<f64>(), self.power.1 + 1);
        }
        self.throttled.extend(now.iter().flat_map(|g| g.throttled.iter().copied()));
        bytes
    }

    /// What all looks say.
    #[must_use]
    pub fn end(self) -> GpuUse {
        let share = |g: &GpuLook| g.busy_share;
        GpuUse {
            peak_bytes: self.peak.0,
            reading: self.peak.1,
            others: self.others,
            busy_before: self.before.iter().filter_map(share).max_by(f64::total_cmp),
            clock_mhz: self.clocks,
            power_w: (self.power.1 > 0).then(|| self.power.0 / f64::from(self.power.1)),
            throttled: self.throttled.into_iter().collect(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Gives one look after another, the last for ever.
    #[derive(Debug)]
    pub(crate) struct FakeMeter(Mutex<Vec<Vec<GpuLook>>>);

    impl FakeMeter {
        pub(crate) fn new(mut looks: Vec<Vec<GpuLook>>) -> Arc<Self> {
            looks.reverse();
            Arc::new(Self(Mutex::new(looks)))
        }
    }

    impl GpuMeter for FakeMeter {
        fn look(&self) -> Vec<GpuLook> {
            let mut looks = self.0.lock().unwrap();
            if looks.len() > 1 { looks.pop().unwrap() } else { looks.last().cloned().unwrap_or_default() }
        }
    }

    fn used(used_bytes: u64, processes: &[(u32, Option<u64>)]) -> GpuLook {
        GpuLook { used_bytes, processes: processes.to_vec(), ..GpuLook::default() }
    }

    #[test]
    fn a_worker_has_the_memory_that_the_driver_tells() {
        let looks = vec![
            vec![used(100, &[])],
            vec![GpuLook { clock_mhz: Some(1200), power_w: Some(100.0), ..used(900, &[(7, Some(700))]) }],
            vec![GpuLook { clock_mhz: Some(1900), power_w: Some(300.0), ..used(800, &[(7, Some(600))]) }],
        ];
        let mut watch = GpuWatch::begin(FakeMeter::new(looks)).unwrap();
        assert_eq!((watch.look(7), watch.look(7)), (700, 600));
        let end = watch.end();
        assert_eq!((end.peak_bytes, end.reading, end.others), (700, DeviceReading::Process, 0));
        assert_eq!((end.clock_mhz, end.power_w), (Some((1200, 1900)), Some(200.0)));
        assert_eq!(end.told(), None);
    }

    #[test]
    fn in_a_container_growth_stands_for_the_process() {
        // The driver names a process by the host's number, or none at all.
        let looks =
            vec![vec![used(100, &[]), used(50, &[])], vec![used(900, &[(4711, Some(790))]), used(60, &[])]];
        let mut watch = GpuWatch::begin(FakeMeter::new(looks)).unwrap();
        assert_eq!(watch.look(7), 810);
        let end = watch.end();
        assert_eq!((end.peak_bytes, end.reading, end.others), (810, DeviceReading::Growth, 0));
    }

    #[test]
    fn other_processes_and_throttling_are_said() {
        let hot = GpuLook { throttled: vec![Throttle::Heat], ..used(900, &[(7, Some(700)), (8, None)]) };
        let mut watch = GpuWatch::begin(FakeMeter::new(vec![vec![used(100, &[])], vec![hot]])).unwrap();
        watch.look(7);
        let told = watch.end().told().unwrap();
        assert_eq!(told, "another process was on the GPU, the GPU was throttled for heat");
        let busy = GpuLook { busy_share: Some(0.8), ..used(100, &[]) };
        let watch = GpuWatch::begin(FakeMeter::new(vec![vec![busy]])).unwrap();
        assert_eq!(watch.end().told().unwrap(), "the GPU was 80 % busy before");
        assert!(GpuWatch::begin(FakeMeter::new(vec![vec![]])).is_none());
    }

    #[test]
    fn only_heat_and_power_disturb() {
        assert!(reasons(ThrottleReasons::GPU_IDLE | ThrottleReasons::APPLICATIONS_CLOCKS_SETTING).is_empty());
        assert_eq!(
            reasons(ThrottleReasons::SW_POWER_CAP | ThrottleReasons::HW_THERMAL_SLOWDOWN),
            [Throttle::Heat, Throttle::Power]
        );
    }
}
