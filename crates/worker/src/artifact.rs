//! One artifact measured in a worker of its own: time, memory, how loading went. The only way that anything here is timed; a study's
//! trials, `autotune bench` and the comparison at a study's end all go through it.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::protocol::{Job, Message, TimingPlan};
use super::run_clock::RunClock;
use super::summary::TimingSummary;
use super::supervisor::{End, Limits, Outcome, SpawnError, Supervisor};
use super::timing::TimingSamples;
use super::workload::Workload;
use autotune_core::space::Config;
use autotune_engine::{Device, EngineKind, FlashAttention, RunConfig, SessionInfo};
use autotune_host::busy::{Disturbance, Look};
use autotune_host::calibrate::{Pace, pace};
use autotune_host::energy;
use autotune_host::energy::Energy;
use autotune_host::gpu_use::GpuUse;

/// What to measure, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The engine.
    pub engine: EngineKind,
    /// The artifact.
    pub artifact: PathBuf,
    /// How it is run.
    pub run: RunConfig,
    /// What it does.
    pub workload: Workload,
    /// Text that the prompts are cut from.
    pub text: String,
    /// How long, and which parts.
    pub plan: TimingPlan,
    /// Ceiling on the worker's memory, in bytes; it is stopped beyond.
    pub budget_bytes: Option<u64>,
    /// The worker is stopped after this long.
    pub timeout: Duration,
}

/// What came out.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// How the worker ended, its memory and processor time.
    pub outcome: Outcome,
    /// Raw samples; none when it did not get that far.
    pub samples: Option<TimingSamples>,
    /// Time to load, in milliseconds, with what was loaded.
    pub loaded: Option<(f64, SessionInfo)>,
    /// What else the machine did, and how fast it was; none for an engine whose clock is scripted.
    pub machine: Option<MachineState>,
    /// Energy that the machine used meanwhile, loading included; none where it cannot be read.
    pub energy: Option<Energy>,
    /// For how long this process was stopped meanwhile; what else was stopped with it is not known, so that the times are in doubt.
    pub stopped: Duration,
}

/// The machine around one measurement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MachineState {
    /// What others did.
    pub disturbance: Disturbance,
    /// Pace just before.
    pub pace_before: Pace,
    /// Pace just after.
    pub pace_after: Pace,
}

/// A pace that changes by more than this between begin and end, or lies so far below the usual, is drift.
const DRIFT: f64 = 0.06;

impl MachineState {
    /// The slower of the two paces.
    #[must_use]
    pub fn pace(&self) -> Pace {
        match self.pace_after.rounds_per_s < self.pace_before.rounds_per_s {
            true => self.pace_after,
            false => self.pace_before,
        }
    }

    /// What speaks against a measurement that was taken in this state, in words; `usual` is the pace of earlier ones.
    #[must_use]
    pub fn doubt(&self, usual: Option<Pace>) -> Option<String> {
        let change = self.pace_after.of(&self.pace_before) - 1.0;
        let behind = usual.map_or(0.0, |u| 1.0 - self.pace().of(&u));
        if let Some(told) = self.disturbance.told() {
            return Some(told);
        }
        if behind > DRIFT {
            return Some(format!("the machine was {:.0} % slower than usual", 100.0 * behind));
        }
        (change.abs() > DRIFT).then(|| format!("the machine's speed changed by {:+.0} %", 100.0 * change))
    }
}

impl Measured {
    /// What speaks against the measurement, in words: what happened on the machine, or on its GPUs. `usual` is the pace of earlier ones.
    #[must_use]
    pub fn doubt(&self, usual: Option<Pace>) -> Option<String> {
        let gpu = self.outcome.gpu.as_ref().and_then(GpuUse::told);
        let stopped = (!self.stopped.is_zero())
            .then(|| format!("this process was stopped for {:.0} s", self.stopped.as_secs_f64()));
        let said = [stopped, self.machine.and_then(|m| m.doubt(usual)), gpu].map(|text| text.into_iter());
        let said: Vec<String> = said.into_iter().flatten().collect();
        (!said.is_empty()).then(|| said.join(", "))
    }

    /// Mean power while the worker ran, in watts; none where energy cannot be read.
    #[must_use]
    pub fn mean_power_w(&self) -> Option<f64> {
        let seconds = self.outcome.wall.as_secs_f64();
        (seconds > 0.0).then_some(self.energy.as_ref()?.joules / seconds)
    }

    /// Joules for each output token, over all that was timed and the loading; none where energy cannot be read.
    #[must_use]
    pub fn joules_per_token(&self, workload: &Workload) -> Option<f64> {
        let tokens = self.samples.as_ref()?.requests() * u64::from(workload.output_tokens);
        (tokens > 0).then_some(self.energy.as_ref()?.joules / tokens as f64)
    }

    /// The samples of a worker that did its job, summarised.
    #[must_use]
    pub fn summary(&self, workload: &Workload) -> Option<TimingSummary> {
        match self.outcome.end {
            End::Done => Some(self.samples.as_ref()?.summary(workload)),
            _ => None,
        }
    }
}

/// How the timed runs of a candidate are set up: as many sequences as decode together, all at the candidate's own settings.
#[must_use]
pub fn timing_run(config: &Config, workload: &Workload) -> RunConfig {
    let slots = config.batch.clamp(1, workload.requests.max(1));
    RunConfig {
        threads: config.threads,
        sequences: slots,
        context: config.context,
        batch_tokens: config.ubatch.max(workload.prompt_tokens.min(512)),
        ubatch: config.ubatch,
        max_outputs: slots,
        kv_k: config.kv_k,
        kv_v: config.kv_v,
        flash: if config.kv_v.is_quantized() { FlashAttention::On } else { FlashAttention::Auto },
        repack: config.repack,
        gpu_layers: config.gpu_layers,
        device: Device::Cpu,
    }
}

/// Measures. Messages of progress go to `each`.
///
/// # Errors
/// The worker could not be started. One that fails is told by [`Measured::outcome`].
pub fn measure(
    supervisor: &Supervisor,
    request: Request,
    cancelled: &dyn Fn() -> bool,
    each: &mut dyn FnMut(Message),
) -> Result<Measured, SpawnError> {
    // A scripted engine has a clock of its own, which nothing disturbs.
    let real = request.engine != EngineKind::Mock;
    let threads = request.run.threads;
    let offloads = request.run.gpu_layers > 0;
    let clock = RunClock::start();
    let before = real.then(|| (pace(threads), energy::machine(offloads), Look::now()));
    let limits = Limits { time: request.timeout, memory_bytes: request.budget_bytes };
    // Energy is counted over the whole run, so that all of every request must be in it.
    let whole = before.as_ref().is_none_or(|(_, counters, _)| !counters.is_empty());
    let job = Job::Measure {
        engine: request.engine,
        artifact: request.artifact,
        run: request.run,
        workload: request.workload,
        text: request.text,
        plan: if whole { request.plan.whole() } else { request.plan },
    };
    let (mut samples, mut loaded) = (None, None);
    let outcome = supervisor.run(&job, &limits, cancelled, &mut |message| match message {
        Message::Measured(s) => samples = Some(*s),
        Message::Loaded { load_ms, info, .. } => loaded = Some((load_ms, info)),
        other => each(other),
    })?;
    let energy =
        outcome.scripted_joules.map(|joules| Energy { joules, counters: vec!["scripted".to_owned()] });
    let stopped = if real { clock.stopped() } else { Duration::ZERO };
    let mut measured = Measured { outcome, samples, loaded, machine: None, energy, stopped };
    if let Some((pace_before, counters, look)) = before {
        let disturbance = Look::now().since(&look, measured.outcome.cpu);
        measured.energy = energy::between(&counters, &energy::machine(offloads));
        measured.machine = Some(MachineState { disturbance, pace_before, pace_after: pace(threads) });
    }
    Ok(measured)
}

#[cfg(test)]
mod tests {
    use super::*;
    use autotune_host::gpu_use::{DeviceReading, Throttle};

    #[test]
    fn a_machine_that_was_busy_or_drifted_is_doubted() {
        let pace = |rounds_per_s| Pace { rounds_per_s };
        let calm = MachineState {
            disturbance: Disturbance::default(),
            pace_before: pace(100.0),
            pace_after: pace(98.0),
        };
        assert_eq!(calm.doubt(None), None);
        assert_eq!(calm.doubt(Some(pace(102.0))), None);
        assert_eq!(calm.doubt(Some(pace(120.0))).unwrap(), "the machine was 18 % slower than usual");
        let moved = MachineState { pace_after: pace(80.0), ..calm };
        assert_eq!(moved.doubt(None).unwrap(), "the machine's speed changed by -20 %");
        let busy = Disturbance { others_share: 0.3, ..Disturbance::default() };
        let busy = MachineState { disturbance: busy, ..calm };
        assert_eq!(busy.doubt(None).unwrap(), "other programs used 30 % of the cores");

        let gpu = GpuUse {
            peak_bytes: 5,
            reading: DeviceReading::Process,
            others: 2,
            busy_before: None,
            clock_mhz: None,
            power_w: None,
            throttled: vec![Throttle::Power],
        };
        let outcome = Outcome {
            end: End::Done,
            peak_bytes: Some(10),
            split_bytes: None,
            wall: Duration::from_secs(4),
            cpu: Duration::ZERO,
            gpu: Some(gpu),
            scripted_joules: None,
            warning: None,
        };
        let energy = Some(Energy { joules: 6.0, counters: vec!["package-0".to_owned()] });
        let stopped = Duration::ZERO;
        let measured =
            Measured { outcome, samples: None, loaded: None, machine: Some(busy), energy, stopped };
        assert_eq!(
            measured.doubt(None).unwrap(),
            "other programs used 30 % of the cores, 2 other processes were on the GPU, the GPU was throttled by its power limit"
        );
        assert_eq!(measured.mean_power_w(), Some(1.5));
        let slept = Measured { stopped: Duration::from_secs(12), ..measured };
        assert!(slept.doubt(None).unwrap().starts_with("this process was stopped for 12 s, other programs"));
    }
}
