//! Arguments of the commands that write files.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{EngineName, SandboxMode, StoreArgs};

/// `autotune convert`
#[derive(Debug, Clone, Args)]
pub struct ConvertArgs {
    /// A GGUF file, or a folder with config.json, safetensors and tokenizer.json.
    pub model: PathBuf,
    /// The folder, or the GGUF file, that is written.
    #[arg(long, value_name = "PATH")]
    pub out: PathBuf,
    /// The type of the matrices. Default: as they are stored; quantized ones become f16.
    #[arg(long, value_enum, value_name = "TYPE")]
    pub dtype: Option<FloatType>,
}

/// A float type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FloatType {
    /// 32 bits.
    F32,
    /// 16 bits.
    F16,
    /// bfloat16.
    Bf16,
}

/// `autotune report`
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Number or name of the study; the newest without it.
    pub study: Option<String>,
    /// The file to write. Default: reports/NAME.html (.svg, .png); json, csv and md go to standard output.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// What to write.
    #[arg(long, value_enum, default_value = "html")]
    pub format: ReportFormat,
    /// Rewrite the page whenever a trial ends, until the study ends; the page reloads itself.
    #[arg(long)]
    pub watch: bool,
    /// Show the front of another study in the figure: one of the same database by number or name, or the newest of another database's file; may
    /// be given several times. Without it, earlier studies of the same model can be switched on.
    #[arg(long, value_name = "STUDY")]
    pub overlay: Vec<String>,
    /// Horizontal metric of an svg or png, for example peak_memory_bytes. Default: the study's objective of speed.
    #[arg(long, value_name = "METRIC")]
    pub x: Option<String>,
    /// Vertical metric of an svg or png. Default: the study's objective of quality.
    #[arg(long, value_name = "METRIC")]
    pub y: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub store: StoreArgs,
}

/// Output format of `report`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// The page: one file, alive in a browser, complete without JavaScript.
    Html,
    /// The study and all its trials.
    Json,
    /// A line for each trial.
    Csv,
    /// The answer and the front, for an issue or a wiki.
    Md,
    /// One figure, as vectors.
    Svg,
    /// One figure, as pixels, for slides and papers (2240 by 1840).
    Png,
}

/// `autotune export`
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Number or name of the study; the newest without it.
    pub study: Option<String>,
    /// The trial's number.
    #[arg(long, value_name = "N")]
    pub trial: u64,
    /// Write a folder for deployment: the model, a README with the measured figures and the commands that run it, an Ollama
    /// Modelfile, the trial as JSON, and SHA-256 checksums.
    #[arg(long, value_name = "DIR", required_unless_present = "out", conflicts_with = "out")]
    pub to: Option<PathBuf>,
    /// Write the model file alone.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// The format of the model file that --out names; safetensors writes a Hugging Face model directory.
    #[arg(long, value_enum, default_value = "gguf", value_name = "FORMAT", conflicts_with = "to")]
    pub format: ExportFormat,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub store: StoreArgs,
}

/// A format of model files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// As the engine runs it.
    Gguf,
    /// A folder with config.json, model.safetensors and tokenizer.json.
    Safetensors,
    /// An archive that libtorch loads: tokens to logits.
    Torchscript,
}

/// A class of machines to deploy on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TierName {
    /// 6 to 8 GB: context 4096, one request, 4 threads; weights of about 4 bits.
    Mobile,
    /// 8 to 12 GB: context 8192, two requests, 6 threads; about 8 bits.
    Edge,
    /// 12 to 16 GB: context 16384, four requests, 8 threads; 16 bits.
    Desktop,
    /// 16 GB and more: context 32768, eight requests, 16 threads; full precision.
    Server,
}

/// `autotune validate`
#[derive(Debug, Args)]
#[command(
    after_help = "Without --reference only the artifact itself is checked: that it runs, that all logits are numbers over a long generation, \
                  hard prompts (empty, full context, unicode, control characters), and that it fits the tier's memory. With it also: the \
                  same tokens on fixed prompts, the divergence on held-out code, latency, memory and code quality compared with the reference.\n\n\
                  In a pipeline: autotune validate DIR --tier edge --reference F16.gguf --json > checks.json"
)]
pub struct ValidateArgs {
    /// A model file, or a folder that `autotune export --to` wrote (its checksums are checked, too).
    pub artifact: PathBuf,
    /// The machines that it is for.
    #[arg(long, value_enum)]
    pub tier: TierName,
    /// The uncompressed model to compare with, as --model of `tune`.
    #[arg(long, value_name = "MODEL")]
    pub reference: Option<String>,
    /// The engine.
    #[arg(long, value_enum, default_value = "llama.cpp")]
    pub engine: EngineName,
    /// Request latency over the reference's, at most, in percent [default: 5].
    #[arg(long, value_name = "PERCENT", allow_hyphen_values = true)]
    pub max_latency_loss: Option<f64>,
    /// Pass@1 and CodeBLEU under the reference's, at most, in percent [default: 2].
    #[arg(long, value_name = "PERCENT", allow_hyphen_values = true)]
    pub max_quality_loss: Option<f64>,
    /// Peak memory under the reference's, at least, in percent [default: 30].
    #[arg(long, value_name = "PERCENT", allow_hyphen_values = true)]
    pub min_memory_gain: Option<f64>,
    /// Mean KL divergence from the reference, at most, in nats [default: mobile 0.2, edge 0.02, desktop 0.005, server 0.001].
    #[arg(long, value_name = "NATS")]
    pub max_kl: Option<f64>,
    /// Positions where both have the same most likely token, at least, in percent [default: mobile 75, edge 93, desktop 95, server 98].
    #[arg(long, value_name = "PERCENT")]
    pub min_top1: Option<f64>,
    /// Tokens before the first difference on fixed prompts, at least, in percent [default: mobile 5, edge 30, desktop 50, server 70].
    #[arg(long, value_name = "PERCENT")]
    pub min_same_tokens: Option<f64>,
    /// Peak memory, at most [default: the tier's smallest machine: 6, 8, 12, 16 GiB].
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub max_memory: Option<String>,
    /// Context of each request, in tokens [default: the tier's, at most what the model was trained for].
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(128..))]
    pub context: Option<u32>,
    /// Tasks to grade with, as for `tune`.
    #[arg(long, default_value = "warmup", value_name = "TASKS")]
    pub tasks: String,
    /// Grade with N of the tasks (0: none).
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub task_limit: usize,
    /// Spend at most this long on timing each model.
    #[arg(long, default_value = "10s", value_name = "DURATION", allow_hyphen_values = true)]
    pub timing_cap: String,
    /// Stop a step (timing, prompts, tasks) that takes longer than this; the check then fails.
    #[arg(long, default_value = "30m", value_name = "DURATION", allow_hyphen_values = true)]
    pub step_timeout: String,
    /// Which protection the sandbox must have before model-written code runs.
    #[arg(long, value_enum, default_value = "auto")]
    pub sandbox: SandboxMode,
    /// DANGEROUS: the same as --sandbox off.
    #[arg(long, conflicts_with = "sandbox")]
    pub allow_unsandboxed: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `autotune man`
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write a page for the program and for each command to this folder.
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
}
