//! What the study and its worker say to each other: one JSON object a line, a job in, messages out.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::rates::{KernelRates, RatesRequest};
use super::timing::{TimingLimits, TimingSamples};
use super::turns::Side;
use super::workload::Workload;
use autotune_core::space::Config;
use autotune_engine::exercise::{Exercise, Exercised};
use autotune_engine::generate::{Generation, Prompt};
use autotune_engine::lab::{RecoverProgress, RecoverRequest};
use autotune_engine::{Device, EngineKind, Inspection, RunConfig, SessionInfo};
use autotune_quality::accuracy::Line;
use autotune_quality::divergence::Divergence;
use autotune_quality::tasks::Task;

/// What to build from, and what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum BuildRequest {
    /// The float reference of a GGUF that is already quantized.
    Reference {
        /// The user's file.
        source: PathBuf,
        /// Where the reference goes.
        out: PathBuf,
        /// Seed of the rescaling.
        seed: u64,
    },
    /// A candidate's GGUF.
    Gguf {
        /// The user's file.
        source: PathBuf,
        /// The float reference.
        reference: PathBuf,
        /// The candidate.
        config: Config,
        /// Activation statistics (JSON).
        stats: Option<PathBuf>,
        /// Importance measure for pruning.
        #[serde(default)]
        importance: ImportanceSource,
        /// Whether channels are scaled by the activations that they meet before they are rounded.
        #[serde(default)]
        scale: bool,
        /// Folder of tensors that were quantized before.
        cache: PathBuf,
        /// Where the artifact goes.
        out: PathBuf,
        /// Threads that quantize.
        threads: u32,
    },
    /// A candidate of the torch engine: a GGUF with its packed types.
    Torch {
        /// The float reference.
        reference: PathBuf,
        /// The candidate.
        config: Config,
        /// Activation statistics (JSON).
        stats: Option<PathBuf>,
        /// Importance measure for pruning.
        #[serde(default)]
        importance: ImportanceSource,
        /// Whether channels are scaled by the activations that they meet before they are rounded.
        #[serde(default)]
        scale: bool,
        /// Folder of tensors that were quantized before.
        cache: PathBuf,
        /// Where the artifact goes.
        out: PathBuf,
        /// Threads that quantize.
        threads: u32,
    },
    /// A mock's artifact.
    Mock {
        /// The mock model.
        model: PathBuf,
        /// The candidate.
        config: Config,
        /// Where the artifact goes.
        out: PathBuf,
    },
}

impl BuildRequest {
    /// Where the artifact goes.
    #[must_use]
    pub fn output(&self) -> &Path {
        match self {
            Self::Reference { out, .. }
            | Self::Gguf { out, .. }
            | Self::Torch { out, .. }
            | Self::Mock { out, .. } => out,
        }
    }
}

/// Importance measure for pruning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportanceSource {
    /// Activations on calibration text, together with the weights.
    #[default]
    Activations,
    /// The weights alone.
    Magnitude,
    /// The loss's gradients on calibration text, in this file (JSON).
    Gradients(PathBuf),
}

/// An artifact that was built.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Built {
    /// Size of the file.
    pub bytes: u64,
    /// Hash of the content, hexadecimal.
    pub hash: String,
    /// Tensors that could not take the type asked for: tensor, asked, got.
    pub fallbacks: Vec<(String, String, String)>,
    /// What pruning kept, for people; empty when nothing was pruned.
    pub kept: String,
    /// Tensors quantized now.
    pub quantized: u64,
    /// Tensors taken from the cache.
    pub reused: u64,
    /// Shape and types of each layer, where the format has layers.
    #[serde(default)]
    pub layers: Option<BuiltLayers>,
    /// The training that it went through, if any.
    #[serde(default)]
    pub recovery: Option<Recovery>,
    /// SHA-256 of the file, which the study takes when the worker is done; none from versions that did not.
    #[serde(default)]
    pub sha256: Option<String>,
}

/// A recovery that was done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    /// Time spent training, in seconds.
    pub spent_s: f64,
    /// Steps taken.
    pub steps: u64,
    /// Divergence from the teacher on held-out windows of the calibration text before, in nats a token.
    pub before: f64,
    /// The same after.
    pub after: f64,
}

/// The layers of an artifact.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BuiltLayers {
    /// Type of the embedding.
    pub embedding: String,
    /// From the first to the last.
    pub layers: Vec<BuiltLayer>,
}

/// One layer of an artifact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuiltLayer {
    /// The layer's number in the source, from 0.
    pub source: u32,
    /// Query heads.
    pub heads: u32,
    /// KV heads.
    pub kv_heads: u32,
    /// FFN channels.
    pub ffn: u32,
    /// The type that holds most bytes of its attention.
    pub attn: String,
    /// The type that holds most bytes of its FFN.
    pub ffn_type: String,
}

/// Which parts of a workload are timed, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TimingPlan {
    /// Whole requests, until the limits.
    Requests {
        /// When to stop.
        limits: TimingLimits,
    },
    /// A prompt and some decode steps of all slots: short, for candidates that take turns.
    Parts {
        /// How often.
        rounds: u32,
        /// Tokens of the prompt, at most.
        prompt_tokens: u32,
        /// Decode steps of each round.
        steps: u32,
    },
}

impl TimingPlan {
    /// The plan with all of every request in it, where whole requests are timed.
    #[must_use]
    pub fn whole(self) -> Self {
        match self {
            Self::Requests { limits } => Self::Requests { limits: TimingLimits { share: None, ..limits } },
            parts @ Self::Parts { .. } => parts,
        }
    }
}

/// What reading every weight of a model told: all of them are numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ValueReport {
    /// Tensors with weights that half precision cannot hold.
    pub beyond_f16: Vec<BeyondF16>,
}

/// A tensor whose weights half precision cannot hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BeyondF16 {
    /// Its name.
    pub tensor: String,
    /// How many weights those are.
    pub values: u64,
    /// The largest magnitude.
    pub largest: f64,
}

/// One piece of work for a process of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "snake_case")]
pub enum Job {
    /// Make the artifact of a candidate.
    Build {
        /// From what, and what.
        request: BuildRequest,
    },
    /// Read a model file as the engine loads it, without its weights where it can.
    Inspect {
        /// The engine.
        engine: EngineKind,
        /// The file.
        artifact: PathBuf,
        /// Whether to find out which cache types the engine refuses for it.
        caches: bool,
    },
    /// Read every weight of a model file, and run the model once.
    CheckValues {
        /// The engine.
        engine: EngineKind,
        /// The file, a GGUF.
        artifact: PathBuf,
        /// How it is run.
        run: RunConfig,
        /// What it reads; none: it is not run.
        text: Option<String>,
    },
    /// Collect activation statistics of the reference on calibration text.
    Activations {
        /// The model to run.
        model: PathBuf,
        /// The calibration text.
        text: String,
        /// Tokens of it to use, at most.
        max_tokens: u32,
        /// Compute threads.
        threads: u32,
        /// Where the statistics go (JSON).
        out: PathBuf,
    },
    /// Find out how the loss on calibration text depends on the parts of a model.
    Gradients {
        /// The model, of floats.
        model: PathBuf,
        /// The calibration text.
        text: String,
        /// Tokens of it to use, at most.
        max_tokens: u32,
        /// Compute threads.
        threads: u32,
        /// Where the scores go (JSON).
        out: PathBuf,
    },
    /// Train a student towards its teacher.
    Recover {
        /// Whom, by whom, and how long.
        request: RecoverRequest,
    },
    /// Time a workload.
    Measure {
        /// The engine.
        engine: EngineKind,
        /// The artifact.
        artifact: PathBuf,
        /// The candidate's own settings.
        run: RunConfig,
        /// What to time.
        workload: Workload,
        /// Text that the prompts are cut from.
        text: String,
        /// How long, and which parts.
        plan: TimingPlan,
    },
    /// Time artifacts that take turns, call by call.
    Turns {
        /// The engine.
        engine: EngineKind,
        /// Who takes turns.
        sides: Vec<Side>,
        /// What they do.
        workload: Workload,
        /// Text that the prompts are cut from.
        text: String,
        /// Number of the first round.
        first: u64,
        /// Rounds at most.
        rounds: u64,
        /// No round is begun that would end after so long, in seconds; loading does not count.
        time_s: f64,
    },
    /// Time the engine's kernels for a model's shape.
    Rates {
        /// The engine.
        engine: EngineKind,
        /// Whose kernels.
        request: RatesRequest,
    },
    /// Record the reference's predictions on held-out text.
    Reference {
        /// The engine.
        engine: EngineKind,
        /// The artifact.
        artifact: PathBuf,
        /// Grading settings.
        run: RunConfig,
        /// Held-out texts; windows are taken from each in turn.
        texts: Vec<String>,
        /// Windows in all.
        windows: u32,
        /// Tokens of each window.
        window_tokens: u32,
        /// Where the predictions go.
        out: PathBuf,
    },
    /// Compare with the reference's predictions, then continue prompts.
    Assess {
        /// The engine.
        engine: EngineKind,
        /// The artifact.
        artifact: PathBuf,
        /// Grading settings: batch-invariant, the candidate's KV types.
        run: RunConfig,
        /// The reference's predictions; none: skip the comparison.
        reference: Option<PathBuf>,
        /// What to continue; none: skip the generation.
        prompts: Vec<Prompt>,
        /// The tasks of the prompts, by id: a stop text ends a continuation where the task's language says that it is complete. A prompt
        /// without its task ends at the first stop text.
        tasks: Vec<Task>,
    },
    /// Exercise an artifact: hard prompts and long generations.
    Exercise {
        /// The engine.
        engine: EngineKind,
        /// The artifact.
        artifact: PathBuf,
        /// How to run it.
        run: RunConfig,
        /// What to do.
        exercises: Vec<Exercise>,
    },
}

impl Job {
    /// The kind of job, for the log.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Job::Build { .. } => "build",
            Job::Activations { .. } => "activations",
            Job::Gradients { .. } => "gradients",
            Job::Recover { .. } => "recover",
            Job::Inspect { .. } => "inspect",
            Job::CheckValues { .. } => "check values",
            Job::Measure { .. } => "measure",
            Job::Turns { .. } => "turns",
            Job::Rates { .. } => "rates",
            Job::Reference { .. } => "reference",
            Job::Assess { .. } => "assess",
            Job::Exercise { .. } => "exercise",
        }
    }

    /// The engine that the job needs; none where it needs none, or the program's own in any case.
    #[must_use]
    pub fn engine(&self) -> Option<EngineKind> {
        match self {
            Job::Build { .. } | Job::Activations { .. } => None,
            Job::Gradients { .. } | Job::Recover { .. } => Some(EngineKind::Torch),
            Job::Inspect { engine, .. }
            | Job::CheckValues { engine, .. }
            | Job::Measure { engine, .. }
            | Job::Turns { engine, .. }
            | Job::Rates { engine, .. }
            | Job::Reference { engine, .. }
            | Job::Assess { engine, .. }
            | Job::Exercise { engine, .. } => Some(*engine),
        }
    }

    /// The file that the job leaves, where it leaves one.
    #[must_use]
    pub fn output(&self) -> Option<&Path> {
        match self {
            Job::Build { request } => Some(request.output()),
            Job::Activations { out, .. } | Job::Gradients { out, .. } | Job::Reference { out, .. } => {
                Some(out)
            }
            Job::Recover { request } => Some(&request.out),
            Job::Inspect { .. }
            | Job::CheckValues { .. }
            | Job::Measure { .. }
            | Job::Turns { .. }
            | Job::Rates { .. }
            | Job::Assess { .. }
            | Job::Exercise { .. } => None,
        }
    }

    /// The job with the torch engine on a device.
    #[must_use]
    pub fn on(mut self, device: Device) -> Self {
        match &mut self {
            Job::Build { .. }
            | Job::Inspect { .. }
            | Job::Activations { .. }
            | Job::Gradients { .. }
            | Job::Rates { .. } => {}
            Job::Recover { request } => request.device = device,
            Job::Turns { sides, .. } => sides.iter_mut().for_each(|side| side.run.device = device),
            Job::CheckValues { run, .. }
            | Job::Measure { run, .. }
            | Job::Reference { run, .. }
            | Job::Assess { run, .. }
            | Job::Exercise { run, .. } => run.device = device,
        }
        self
    }

    /// Whether it puts a model, or a part of one, on a GPU.
    #[must_use]
    pub fn offloads(&self) -> bool {
        match self {
            Job::CheckValues { run, .. }
            | Job::Measure { run, .. }
            | Job::Reference { run, .. }
            | Job::Assess { run, .. }
            | Job::Exercise { run, .. } => run.gpu_layers > 0 || run.device != Device::Cpu,
            Job::Recover { request } => request.device != Device::Cpu,
            Job::Turns { sides, .. } => {
                sides.iter().any(|side| side.run.gpu_layers > 0 || side.run.device != Device::Cpu)
            }
            Job::Build { .. }
            | Job::Inspect { .. }
            | Job::Activations { .. }
            | Job::Gradients { .. }
            | Job::Rates { .. } => false,
        }
    }

    /// A word for logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Job::Build { .. } => "build",
            Job::Inspect { .. } => "inspect",
            Job::CheckValues { .. } => "check values",
            Job::Activations { .. } => "activations",
            Job::Gradients { .. } => "gradients",
            Job::Recover { .. } => "recover",
            Job::Measure { .. } => "measure",
            Job::Turns { .. } => "turns",
            Job::Rates { .. } => "rates",
            Job::Reference { .. } => "reference",
            Job::Assess { .. } => "assess",
            Job::Exercise { .. } => "exercise",
        }
    }
}

/// What a worker reports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "message", content = "body", rename_all = "snake_case")]
pub enum Message {
    /// So much is done.
    Progress {
        /// What is being done.
        what: String,
        /// Units done.
        done: u64,
        /// Units in all.
        total: u64,
    },
    /// An artifact loads.
    Loaded {
        /// What it is.
        info: SessionInfo,
        /// Time to load it, in milliseconds.
        load_ms: f64,
        /// The engine's version.
        version: String,
    },
    /// A model file can be loaded.
    Inspected(Inspection),
    /// Every weight was read.
    ValuesChecked(ValueReport),
    /// An artifact was made.
    Built(Built),
    /// Timing ended.
    Measured(Box<TimingSamples>),
    /// Those that take turns played a round.
    Round {
        /// Its number.
        round: u64,
        /// What it took each side, in their order.
        sides: Vec<TimingSamples>,
    },
    /// The kernels were timed.
    Rates(Box<KernelRates>),
    /// The comparison ended.
    Diverged {
        /// How far the predictions lie apart.
        divergence: Divergence,
        /// Lines of the held-out code as the candidate would write them.
        lines: Vec<Line>,
    },
    /// A recovery took a step, or ended.
    Recovering(RecoverProgress),
    /// A prompt was continued.
    Generated(Generation),
    /// An exercise ended.
    Exercised(Exercised),
    /// The job's own end; nothing follows.
    Done {
        /// Largest resident set of the worker so far, in bytes.
        peak_rss_bytes: Option<u64>,
        /// Of it, at the end: anonymous pages, in bytes.
        anonymous_bytes: Option<u64>,
        /// Of it, at the end: pages of mapped files, in bytes.
        file_bytes: Option<u64>,
        /// What a scripted engine pretends, in bytes.
        scripted_peak_bytes: Option<u64>,
        /// Energy that a scripted engine pretends, in joules.
        #[serde(default)]
        scripted_joules: Option<f64>,
    },
    /// The job failed; nothing follows.
    Failed {
        /// A text fit for "failed: ...".
        error: String,
        /// Whether the machine, not the candidate, is the cause: no disk space, no permission.
        #[serde(default)]
        machine: bool,
    },
}
