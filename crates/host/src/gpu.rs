//! GPUs, through the driver's management library where there is one.

use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;

use super::info::GpuInfo;

/// Where the list of GPUs comes from, so that tests need none.
pub trait GpuProbe {
    /// The GPUs of this machine; empty when there is no driver to ask.
    fn gpus(&self) -> Vec<GpuInfo>;
}

/// NVIDIA's management library, loaded at run time. Without it, or without a GPU, the list is empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct NvmlProbe;

impl GpuProbe for NvmlProbe {
    fn gpus(&self) -> Vec<GpuInfo> {
        let Ok(nvml) = Nvml::init() else { return Vec::new() };
        let driver = nvml.sys_driver_version().unwrap_or_else(|_| "unknown".to_owned());
        let count = nvml.device_count().unwrap_or(0);
        // A device that does not answer (lost, or forbidden to this user) cannot be used either.
        (0..count).filter_map(|index| one(&nvml, index, &driver).ok()).collect()
    }
}

fn one(nvml: &Nvml, index: u32, driver: &str) -> Result<GpuInfo, NvmlError> {
    let device = nvml.device_by_index(index)?;
    let memory = device.memory_info()?;
    let capability = device.cuda_compute_capability().ok();
    Ok(GpuInfo {
        name: device.name()?,
        memory_total_bytes: memory.total,
        memory_free_bytes: memory.free,
        driver: driver.to_owned(),
        compute_capability: capability.map(|c| format!("{}.{}", c.major, c.minor)),
        // NVML speaks in milliwatts.
        power_limit_w: device.enforced_power_limit().ok().map(|milliwatts| f64::from(milliwatts) / 1000.0),
    })
}
