//! One artifact measured in a worker of its own: time, memory, how loading went. The only way that anything here is timed; a study's
//! trials, `autotune bench` and the comparison at a study's end all go through it.

use std::path::PathBuf;
use std::time::Duration;

use super::protocol::{Job, Message, TimingPlan};
use super::summary::TimingSummary;
use super::supervisor::{End, Limits, Outcome, SpawnError, Supervisor};
use super::timing::TimingSamples;
use super::workload::Workload;
use crate::engine::{EngineKind, FlashAttention, RunConfig, SessionInfo};
use crate::space::Config;

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
}

impl Measured {
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
        gpu_layers: 0,
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
    let limits = Limits { time: request.timeout, memory_bytes: request.budget_bytes };
    let job = Job::Measure {
        engine: request.engine,
        artifact: request.artifact,
        run: request.run,
        workload: request.workload,
        text: request.text,
        plan: request.plan,
    };
    let (mut samples, mut loaded) = (None, None);
    let outcome = supervisor.run(&job, &limits, cancelled, &mut |message| match message {
        Message::Measured(s) => samples = Some(*s),
        Message::Loaded { load_ms, info, .. } => loaded = Some((load_ms, info)),
        other => each(other),
    })?;
    Ok(Measured { outcome, samples, loaded })
}
