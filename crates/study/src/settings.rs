//! The settings of a study, resolved and typed; stored with it, so that a resume needs nothing else.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::problem::{Bounds, Cost, Quality};
use autotune_engine::draw::Draws;
use autotune_engine::{Device, EngineKind};
use autotune_quality::tasks::WARMUP;
use autotune_sandbox::Mode;
use autotune_search::SamplerKind;
use autotune_worker::rates::KernelRates;
use autotune_worker::timing::{Share, TimingLimits};
use autotune_worker::workload::Workload;

/// Importance measure for pruning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImportanceBy {
    /// Activations on calibration text, together with the weights.
    #[default]
    Activation,
    /// The weights alone.
    Magnitude,
    /// The loss's gradients on calibration text, which needs torch.
    Gradient,
}

/// Training text of recovery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecoveryText {
    /// The calibration text.
    #[default]
    Calibration,
    /// Besides it, what the reference writes when it goes on from pieces of it.
    Generated,
}

/// Whether channels are scaled before weights are rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scaling {
    /// No: as studies did before there was a choice.
    #[default]
    None,
    /// By the activations that they meet on calibration text (AWQ).
    Activations,
}

/// A study's settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The model as the user named it.
    pub model: String,
    /// The file it resolved to.
    pub model_path: PathBuf,
    /// The Hugging Face folder that the file was converted from; none for a model that is a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_source: Option<PathBuf>,
    /// Ceiling on the measured peak memory, in bytes.
    pub budget_bytes: u64,
    /// The engine.
    pub engine: EngineKind,
    /// Where the torch engine computes.
    #[serde(default)]
    pub device: Device,
    /// A preset of the space or a file.
    pub space: String,
    /// What the model will do.
    pub workload: Workload,
    /// Tasks to grade with.
    pub tasks: String,
    /// Tasks used at most; 0: all.
    pub task_limit: usize,
    /// Calibration text in place of the shipped one.
    pub calibration: Option<PathBuf>,
    /// Importance measure for pruning.
    #[serde(default)]
    pub importance: ImportanceBy,
    /// Whether candidates have their channels scaled before weights are rounded.
    #[serde(default)]
    pub scaling: Scaling,
    /// A candidate that is pruned or of few bits is trained towards the reference for this long before it is quantized, in seconds; 0: not at
    /// all.
    #[serde(default)]
    pub recover_s: u64,
    /// What it reads then.
    #[serde(default)]
    pub recover_on: RecoveryText,
    /// How candidates are chosen.
    pub sampler: SamplerKind,
    /// Seed of everything random.
    pub seed: u64,
    /// Trials in all, presets included; none: no limit.
    pub trials: Option<u64>,
    /// No trial starts after this long, in seconds; none: no limit.
    pub time_s: Option<u64>,
    /// Protection that is demanded before model-written code runs.
    #[serde(default)]
    pub sandbox: Mode,
    /// What stands for quality in the objectives.
    #[serde(default)]
    pub quality: Quality,
    /// What stands for the cost of a request in the objectives.
    #[serde(default)]
    pub cost: Cost,
    /// Capacity of the battery that the model will run on, in watt-hours, to report the share of it that 1,000 tokens take.
    #[serde(default)]
    pub battery_wh: Option<f64>,
    /// Layers that a GPU of this machine can take; 0: none.
    #[serde(default)]
    pub device_layers: u32,
    /// What the user declared of the objectives besides the budget.
    #[serde(default)]
    pub bounds: Bounds,
    /// Completions sampled per task in addition to the greedy one; none: only that.
    #[serde(default)]
    pub draws: Option<Draws>,
    /// When the timing of one candidate ends.
    pub timing: TimingLimits,
    /// A rung that takes longer is stopped, in seconds.
    pub rung_timeout_s: u64,
    /// Where reports go.
    pub reports: PathBuf,
    /// Kernel rates that latency is predicted from: as they were when the study began, so that a resumed study proposes the same candidates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rates: Option<KernelRates>,
}

/// How long a study may begin trials when the user names neither time nor trials.
pub const DEFAULT_TIME: Duration = Duration::from_secs(11 * 60 + 30);

impl Settings {
    /// The settings of a study of a model under a budget of peak memory, in bytes, with everything else as the command line has it by
    /// default.
    #[must_use]
    pub fn new(model: PathBuf, budget_bytes: u64) -> Self {
        Self {
            model: model.display().to_string(),
            model_path: model,
            model_source: None,
            budget_bytes,
            engine: EngineKind::LlamaCpp,
            device: Device::Cpu,
            space: "laptop".to_owned(),
            workload: Workload { prompt_tokens: 512, output_tokens: 128, requests: 4, shared_tokens: 0 },
            tasks: WARMUP.to_owned(),
            task_limit: 50,
            calibration: None,
            importance: ImportanceBy::Activation,
            scaling: Scaling::Activations,
            recover_s: 0,
            recover_on: RecoveryText::Calibration,
            sampler: SamplerKind::default(),
            seed: 1,
            trials: None,
            time_s: Some(DEFAULT_TIME.as_secs()),
            sandbox: Mode::Auto,
            quality: Quality::Pass1,
            cost: Cost::Latency,
            battery_wh: None,
            device_layers: 0,
            bounds: Bounds::default(),
            draws: None,
            timing: TimingLimits { cap_s: 5.0, share: Some(Share::STUDY), ..TimingLimits::default() },
            rung_timeout_s: 30 * 60,
            reports: PathBuf::from("reports"),
            rates: None,
        }
    }

    /// Windows of held-out code that the divergence is measured on.
    pub const WINDOWS: u32 = 3;
    /// Tokens of each window.
    pub const WINDOW_TOKENS: u32 = 256;
    /// Calibration tokens that activation statistics rest on, at most.
    pub const CALIBRATION_TOKENS: u32 = 4096;
    /// Sequences that are graded together.
    pub const GRADING_SLOTS: u32 = 16;
    /// Context of a graded sequence, in tokens.
    pub const GRADING_CONTEXT: u32 = 768;
}
