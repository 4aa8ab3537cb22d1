//! Workers on a GPU, with a meter that is scripted: device memory counts against the budget, and what disturbs is told.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use autotune::engine::{Device, EngineKind, FlashAttention, RunConfig};
use autotune::host::gpu_use::{DeviceReading, GpuLook, GpuMeter, Throttle};
use autotune::space::KvType;
use autotune::worker::protocol::{Job, TimingPlan};
use autotune::worker::supervisor::{End, Limits, Outcome, Supervisor};
use autotune::worker::timing::TimingLimits;
use serde_json::json;

/// A GPU whose memory in use grows with every look.
#[derive(Debug, Default)]
struct Growing(std::sync::atomic::AtomicU64);

impl GpuMeter for Growing {
    fn look(&self) -> Vec<GpuLook> {
        let looks = self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        vec![GpuLook {
            used_bytes: 1_000_000_000 + looks * 50_000_000,
            processes: Vec::new(),
            clock_mhz: Some(1500),
            power_w: Some(200.0),
            busy_share: Some(0.0),
            throttled: vec![Throttle::Power],
        }]
    }
}

fn hanging_worker(gpu_layers: u32, limits: &Limits) -> Outcome {
    let folder = tempfile::tempdir().unwrap();
    let artifact: PathBuf = folder.path().join("a.json");
    let content = json!({"peak_bytes": 1, "prompt_us": 1.0, "step_us": 1.0, "row_us": 1.0, "noise": 0.0,
        "forgets": 0.0, "script": "hang"});
    std::fs::write(&artifact, content.to_string()).unwrap();
    let run = RunConfig {
        threads: 1,
        sequences: 1,
        context: 256,
        batch_tokens: 64,
        ubatch: 64,
        max_outputs: 0,
        kv_k: KvType::F16,
        kv_v: KvType::F16,
        flash: FlashAttention::Auto,
        repack: true,
        gpu_layers,
        device: Device::Cpu,
    };
    let job = Job::Measure {
        engine: EngineKind::Mock,
        artifact,
        run,
        workload: "64:8:1".parse().unwrap(),
        text: "text ".repeat(50),
        plan: TimingPlan::Requests { limits: TimingLimits::default() },
    };
    let supervisor =
        Supervisor::new(env!("CARGO_BIN_EXE_autotune").into()).with_gpu(Arc::new(Growing::default()));
    supervisor.run(&job, limits, &|| false, &mut |_| {}).unwrap()
}

#[test]
fn device_memory_counts_against_the_budget() {
    let limits = Limits { time: Duration::from_secs(60), memory_bytes: Some(400_000_000) };
    let outcome = hanging_worker(5, &limits);
    assert_eq!(outcome.end, End::OverMemory);
    let gpu = outcome.gpu.unwrap();
    assert!(gpu.peak_bytes >= 300_000_000 && gpu.reading == DeviceReading::Growth, "{gpu:?}");
    assert!(outcome.peak_bytes.unwrap() > 400_000_000);
    assert_eq!((gpu.clock_mhz, gpu.power_w), (Some((1500, 1500)), Some(200.0)));
    assert_eq!(gpu.told().unwrap(), "the GPU was throttled by its power limit");
}

#[test]
fn what_runs_on_the_cpu_asks_no_gpu() {
    let limits = Limits { time: Duration::from_millis(400), memory_bytes: Some(400_000_000) };
    let outcome = hanging_worker(0, &limits);
    assert_eq!((outcome.end, outcome.gpu), (End::TimedOut, None));
}
