//! Exactly what the user said, by clap. Nothing below `settings` sees these types.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

/// Find the compressed variants of a code language model that are worth running on this machine.
#[derive(Debug, Parser)]
#[command(
    name = "autotune",
    version,
    override_usage = "autotune [OPTIONS] --budget <SIZE>\n       autotune <COMMAND>",
    subcommand_negates_reqs = true,
    after_help = "Exit codes: 0 done, 1 failure, 2 wrong input, 3 nothing fits, 4 the machine lacks something, \
                  5 every trial failed, 6 a check of validate failed, 130 paused (autotune resume goes on)."
)]
pub struct Cli {
    /// Print data and errors only, no progress.
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// The command; without one, `tune`.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The flags of `tune`, so that `autotune --budget 8GB` is enough.
    #[command(flatten)]
    pub tune: TuneArgs,
}

impl Cli {
    /// Parses the command line. Flags of `tune` before another command are refused, since they would do nothing there; `--quiet`
    /// goes with every command (which clap's own `args_conflicts_with_subcommands` would refuse).
    ///
    /// # Errors
    /// The command line is wrong, or asks for help.
    pub fn parse_line() -> Result<Self, clap::Error> {
        let mut line = Self::command();
        let matches = line.try_get_matches_from_mut(std::env::args_os())?;
        if let Some((command, _)) = matches.subcommand() {
            let given = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
            let stray = line.get_arguments().find(|a| !a.is_global_set() && given(a.get_id().as_str()));
            if let Some(flag) = stray.and_then(clap::Arg::get_long) {
                let text = format!(
                    "`--{flag}` before `{command}` would belong to `tune`; write the flags of a command behind its name"
                );
                return Err(line.error(ErrorKind::ArgumentConflict, text));
            }
        }
        Self::from_arg_matches(&matches).map_err(|e| e.format(&mut line))
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Search for the best variants under a memory budget (the default command).
    Tune(Box<TuneArgs>),
    /// Continue the newest, or the named, study where it stopped.
    Resume(ResumeArgs),
    /// Show what this machine has and what it was measured to do.
    Probe(ProbeArgs),
    /// Say what would fit a budget, before anything is loaded.
    Plan(PlanArgs),
    /// Measure a model as it is: speed with intervals, peak memory, load time.
    Bench(BenchArgs),
    /// Turn a GGUF file into a folder of Hugging Face (safetensors), or the other way.
    Convert(ConvertArgs),
    /// List the studies of a database.
    Studies(ListArgs),
    /// List the trials of a study.
    Trials(TrialsArgs),
    /// Tell which parameters moved each objective of a study.
    Importance(ImportanceArgs),
    /// Score the candidates that another program writes as JSON lines, with the evaluation of `tune`.
    Evaluate(Box<TuneArgs>),
    /// Set two studies side by side: fronts, hypervolumes, who dominates whom.
    Compare(CompareArgs),
    /// Write the report of a study.
    Report(ReportArgs),
    /// Hand a trial over: its model file, the measured figures, and the commands that run it.
    Export(ExportArgs),
    /// Check that a model is fit to be deployed on a class of machines; exit code 6 when it is not.
    Validate(Box<ValidateArgs>),
    /// Save what a damaged database still holds into a new one.
    Salvage(SalvageArgs),
    /// Grade code without tuning.
    #[command(subcommand)]
    Score(ScoreCommand),
    /// Search a recorded table instead of a model, to compare samplers.
    Simulate(SimulateArgs),
    /// Print shell completions.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one for each command.
    Man(ManArgs),
    /// Run one trial's work, spoken to over a pipe (internal).
    #[command(hide = true)]
    Worker,
}

/// Where results are kept.
#[derive(Debug, Clone, Args)]
pub struct StoreArgs {
    /// The folder of the database and the artifacts.
    #[arg(long, default_value = "results", value_name = "FOLDER")]
    pub results: PathBuf,
}

/// The space that is searched when none is named.
pub const DEFAULT_SPACE: &str = "laptop";

/// Which engine runs the artifacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EngineName {
    /// The embedded llama.cpp.
    #[value(name = "llama.cpp")]
    LlamaCpp,
    /// libtorch: floats, packed int8 and int4; on the processor or CUDA.
    Torch,
    /// Deterministic and scripted, for tests.
    #[value(hide = true)]
    Mock,
}

impl From<EngineName> for crate::engine::EngineKind {
    fn from(name: EngineName) -> Self {
        match name {
            EngineName::LlamaCpp => Self::LlamaCpp,
            EngineName::Torch => Self::Torch,
            EngineName::Mock => Self::Mock,
        }
    }
}

/// What pruning goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ImportanceName {
    /// Activations on calibration code, with the weights that they meet.
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

/// What recovery reads.
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

/// `autotune tune`
#[derive(Debug, Clone, Args)]
pub struct TuneArgs {
    /// Hard ceiling on the measured peak memory, for example 8GB (10^9) or 8GiB (2^30).
    #[arg(long, value_name = "SIZE", required = true, allow_hyphen_values = true)]
    pub budget: Option<String>,
    /// The model: a GGUF file, a folder of Hugging Face, or hf:owner/repo/file.gguf. Default: the demo model that `make` installs.
    #[arg(long, value_name = "PATH")]
    pub model: Option<String>,
    /// A preset's name (laptop, mobile, edge, desktop, server) or a TOML file.
    #[arg(long, default_value = DEFAULT_SPACE, value_name = "SPACE")]
    pub space: String,
    /// Begin no trial after this long, for example 30m or 2h. Default: 11m, unless --trials is given.
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub time: Option<String>,
    /// Stop after this many trials that ran, presets included.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub trials: Option<u64>,
    /// The engine.
    #[arg(long, value_enum, default_value = "llama.cpp")]
    pub engine: EngineName,
    /// Where the torch engine computes: cpu or cuda:0.
    #[arg(long, default_value = "cpu", value_name = "DEVICE")]
    pub device: String,
    /// How candidates are chosen.
    #[arg(long, default_value = "autotune", value_name = "NAME")]
    pub sampler: String,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// What the model will do: chat, agents, batch, or PROMPT:OUTPUT:REQUESTS in tokens, for example 512:128:4.
    #[arg(long, default_value = "512:128:4", value_name = "WORKLOAD")]
    pub workload: String,
    /// Tasks to grade with: warmup (shipped), or a HumanEval-format .jsonl or .jsonl.gz.
    #[arg(long, default_value = "warmup", value_name = "TASKS")]
    pub tasks: String,
    /// Grade with N of the tasks, spread evenly over the set (0: all).
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub task_limit: usize,
    /// What pruning goes by; gradient needs torch.
    #[arg(long, value_enum, default_value = "activation", value_name = "SOURCE")]
    pub importance: ImportanceName,
    /// Train every candidate that is pruned, or has weights of four bits or fewer, towards the reference so long before it is quantized, for
    /// example 10m (needs torch). Presets stay as they are.
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub recover: Option<String>,
    /// What is read in that training: the calibration code, or besides it what the reference itself makes of it.
    #[arg(long, value_enum, default_value = "calibration", value_name = "TEXT")]
    pub recover_on: RecoveryTextName,
    /// A text file of calibration code in place of the shipped one.
    #[arg(long, value_name = "FILE")]
    pub calibration: Option<PathBuf>,
    /// Stop a rung (build, measure, grade) that takes longer than this.
    #[arg(long, default_value = "30m", value_name = "DURATION", allow_hyphen_values = true)]
    pub rung_timeout: String,
    /// Spend at most this long on timing one candidate.
    #[arg(long, default_value = "10s", value_name = "DURATION", allow_hyphen_values = true)]
    pub timing_cap: String,
    /// Which quality the search, the front and the recommendation go by; all are measured.
    #[arg(long, value_enum, default_value = "pass@1", value_name = "AXIS")]
    pub quality: QualityAxis,
    /// Which cost of a request the search, the front and the recommendation go by; both are measured where they can be.
    #[arg(long, value_enum, default_value = "latency", value_name = "AXIS")]
    pub cost: CostAxis,
    /// Capacity of the battery that the model will run on, in watt-hours, to tell which share of it 1,000 tokens take.
    #[arg(long, value_name = "WH", allow_hyphen_values = true)]
    pub battery_wh: Option<f64>,
    /// The slowest median request latency that is of interest, for example 80ms or 2s.
    #[arg(long, value_name = "DURATION", allow_hyphen_values = true)]
    pub max_latency: Option<String>,
    /// The lowest quality that is of interest: 0.95x of the uncompressed model's, or a value such as 0.4 (with --quality kl the most).
    #[arg(long, value_name = "QUALITY", allow_hyphen_values = true)]
    pub min_quality: Option<String>,
    /// The most energy that a token may take, for example 1.5J; needs a readable energy counter (`autotune probe`).
    #[arg(long, value_name = "JOULES", allow_hyphen_values = true)]
    pub max_energy: Option<String>,
    /// Besides the greedy answer, draw N answers of each task at random, for pass@k with k up to N.
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1000), allow_hyphen_values = true)]
    pub samples: u32,
    /// Temperature of the drawn answers. Default: 0.8.
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    pub temperature: Option<f64>,
    /// Draw from the likeliest tokens that hold this share of the probability. Default: 0.95.
    #[arg(long, value_name = "P", allow_hyphen_values = true)]
    pub top_p: Option<f64>,
    /// Which protection the sandbox must have before model-written code runs.
    #[arg(long, value_enum, default_value = "auto")]
    pub sandbox: SandboxMode,
    /// DANGEROUS: the same as --sandbox off.
    #[arg(long, conflicts_with = "sandbox")]
    pub allow_unsandboxed: bool,
    /// Print every event as a JSON line on stdout.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub store: StoreArgs,
    /// Where the report goes.
    #[arg(long, default_value = "reports", value_name = "FOLDER")]
    pub reports: PathBuf,
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

/// `autotune probe`
#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Measure the ceilings again although they are cached.
    #[arg(long)]
    pub refresh: bool,
}

/// `autotune plan`
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The model, as for `tune`.
    #[arg(long, value_name = "PATH")]
    pub model: Option<String>,
    /// The budget, as for `tune`.
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub budget: String,
    /// The space, as for `tune`.
    #[arg(long, default_value = DEFAULT_SPACE, value_name = "SPACE")]
    pub space: String,
    /// What the model will do, as for `tune`.
    #[arg(long, default_value = "512:128:4", value_name = "WORKLOAD")]
    pub workload: String,
    /// The engine.
    #[arg(long, value_enum, default_value = "llama.cpp")]
    pub engine: EngineName,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `autotune bench`
#[derive(Debug, Args)]
#[command(
    after_help = "One row for each combination of --threads, --kv, --batch and --ubatch, each measured in a process of its own:\n\
                  autotune bench model.gguf --threads 1,2 --kv f16,q8_0 --workload chat\n\n\
                  docs/MEASURING.md tells how the numbers come about."
)]
pub struct BenchArgs {
    /// The model, as for `tune`. Default: the demo model that `make` installs.
    pub model: Option<String>,
    /// Compute threads. Default: all that are usable.
    #[arg(long, value_delimiter = ',', value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Vec<u32>,
    /// Types of the KV cache: f32, f16, bf16, q8_0, q4_0, or K and V apart, as in q8_0/f16.
    #[arg(long, value_delimiter = ',', default_value = "f16", value_name = "TYPE")]
    pub kv: Vec<String>,
    /// Requests that decode together. Default: all of the workload, up to four.
    #[arg(long, value_delimiter = ',', value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub batch: Vec<u32>,
    /// Micro-batch of prompt processing, in tokens.
    #[arg(long, value_delimiter = ',', default_value = "512", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub ubatch: Vec<u32>,
    /// Do not let the engine repack weights for the CPU.
    #[arg(long)]
    pub no_repack: bool,
    /// What the model does: chat, agents, batch, or PROMPT:OUTPUT:REQUESTS in tokens, and the shared begin of all prompts as a fourth.
    #[arg(long, default_value = "chat", value_name = "WORKLOAD")]
    pub workload: String,
    /// Stop a combination when the 95 % interval of the median is within this share of it.
    #[arg(long, default_value_t = 0.02, value_name = "SHARE")]
    pub target: f64,
    /// Time at least this many requests, where the time allows.
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub requests: u32,
    /// Begin no requests that would end after this long, for each combination.
    #[arg(long, default_value = "30s", value_name = "DURATION", allow_hyphen_values = true)]
    pub cap: String,
    /// Capacity of this machine's battery in watt-hours, to tell which share of it 1,000 tokens take.
    #[arg(long, value_name = "WH", allow_hyphen_values = true)]
    pub battery_wh: Option<f64>,
    /// Layers on the GPU, the output matrix counted as one; needs a build for it.
    #[arg(long, visible_alias = "ngl", value_delimiter = ',', default_value = "0", value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub gpu_layers: Vec<u32>,
    /// Stop a combination that uses more memory than this.
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub budget: Option<String>,
    /// The engine.
    #[arg(long, value_enum, default_value = "llama.cpp")]
    pub engine: EngineName,
    /// Where the torch engine computes: cpu or cuda:0.
    #[arg(long, default_value = "cpu", value_name = "DEVICE")]
    pub device: String,
    /// Print JSON, raw samples included.
    #[arg(long)]
    pub json: bool,
}

/// `autotune studies`
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub store: StoreArgs,
}

/// `autotune importance`
#[derive(Debug, Args)]
pub struct ImportanceArgs {
    /// Number or name of the study; the newest without it.
    pub study: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub store: StoreArgs,
}

/// `autotune trials`
#[derive(Debug, Args)]
pub struct TrialsArgs {
    /// Number or name of the study; the newest without it.
    pub study: Option<String>,
    /// Print JSON.
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,
    /// Print CSV.
    #[arg(long)]
    pub csv: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub store: StoreArgs,
}

/// `autotune compare`
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Number or name of a study.
    pub first: String,
    /// Number or name of another.
    pub second: String,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub store: StoreArgs,
}

/// `autotune salvage`
#[derive(Debug, Args)]
pub struct SalvageArgs {
    /// The damaged database, for example results/autotune.db.
    pub database: PathBuf,
    /// The new database. Default: beside the damaged one, as autotune.salvaged.db.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
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
    /// Write the page again whenever a trial ends, until the study ends; the page loads itself again meanwhile.
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

/// What `report` writes.
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
    /// The format of the model file that --out names; safetensors makes a folder of Hugging Face.
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
                  same tokens on fixed prompts, the divergence on held-out code, latency, memory and code quality beside the reference.\n\n\
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
    /// Positions where both find the same token likeliest, at least, in percent [default: mobile 75, edge 93, desktop 95, server 98].
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

/// `autotune score ...`
#[derive(Debug, Subcommand)]
pub enum ScoreCommand {
    /// CodeBLEU of predictions against references.
    Codebleu(CodebleuArgs),
    /// Pass@k of samples against the tests of tasks.
    Passk(PasskArgs),
}

/// `autotune score codebleu`
#[derive(Debug, Args)]
pub struct CodebleuArgs {
    /// The language: python, javascript, typescript, tsx, java, go, rust, c, cpp, c_sharp, php, ruby.
    #[arg(long)]
    pub lang: String,
    /// Score as PyPI codebleu 0.7.0 does, in place of the sound rules.
    #[arg(long)]
    pub published: bool,
    /// Weights of n-gram, weighted n-gram, syntax and data flow.
    #[arg(long, value_delimiter = ',', num_args = 1, default_values_t = [0.25, 0.25, 0.25, 0.25])]
    pub weights: Vec<f64>,
    /// JSON lines of {"prediction": "...", "references": ["..."]}; `-` reads standard input.
    pub pairs: PathBuf,
}

/// `autotune score passk`
#[derive(Debug, Args)]
pub struct PasskArgs {
    /// The tasks: warmup, or a file in HumanEval, MBPP, HumanEval-X or MultiPL-E format (.jsonl, .jsonl.gz).
    #[arg(long)]
    pub tasks: String,
    /// The values of k.
    #[arg(long, value_delimiter = ',', default_values_t = [1u64])]
    pub k: Vec<u64>,
    /// JSON lines of {"task_id": "...", "completion": "..."}; `canonical` grades the tasks' own solutions.
    pub samples: PathBuf,
    /// What the samples are.
    #[arg(long, value_enum, default_value = "completion")]
    pub answers: AnswerStyle,
    /// Seconds that a program may run.
    #[arg(long, default_value_t = 3.0)]
    pub timeout_s: f64,
    /// Programs that run at once; default: the usable cores.
    #[arg(long)]
    pub jobs: Option<usize>,
    /// Which protection the sandbox must have.
    #[arg(long, value_enum, default_value = "auto")]
    pub sandbox: SandboxMode,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Write a verdict for each sample to this file.
    #[arg(long, value_name = "FILE")]
    pub verdicts: Option<PathBuf>,
}

/// What the texts of a samples file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AnswerStyle {
    /// Finished completions, run behind the prompt as they are.
    Completion,
    /// What a model wrote behind the prompt: cut where the function ends, at the task's stop texts.
    Continuation,
    /// What a chat model answered: the code is taken from its fences.
    Chat,
}

/// What stands for quality in a study.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum QualityAxis {
    /// Share of the tasks whose greedy answer passes the tests.
    #[value(name = "pass@1")]
    Pass1,
    /// Chance that one of ten drawn answers passes; needs --samples of at least 10.
    #[value(name = "pass@10")]
    Pass10,
    /// Likeness of the greedy answers to the tasks' own solutions (sound rules).
    Codebleu,
    /// Nearness of the predictions to the uncompressed model's.
    Kl,
}

/// What stands for the cost of a request in a study.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CostAxis {
    /// Its median latency.
    Latency,
    /// Energy of an output token; only where this machine's energy can be read.
    Energy,
}

/// How much protection is demanded before model-written code runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SandboxMode {
    /// All that this machine offers; refuse when it offers none.
    Auto,
    /// Refuse without all of landlock, seccomp and rlimits.
    Strict,
    /// DANGEROUS: run untrusted code with this user's full rights where no layer is to be had.
    Off,
}

/// `autotune simulate`
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// The space, a TOML file: a list of levels for each parameter, of any name.
    #[arg(long, value_name = "FILE")]
    pub space: PathBuf,
    /// The table, CSV: a column for each parameter and each objective, a row for each point. A point without a row does not fit.
    #[arg(long, value_name = "FILE")]
    pub table: PathBuf,
    /// Objectives with directions, and :log or :linear where the name does not tell: latency_ms:min,quality:max.
    #[arg(long, value_delimiter = ',', required = true, value_name = "COLUMN:min|max,...")]
    pub objectives: Vec<String>,
    /// A ceiling on the budget column: 900MB, or a plain number.
    #[arg(long, requires = "budget_column", value_name = "SIZE")]
    pub budget: Option<String>,
    /// The column that the budget bounds. Known before a point is asked, as what fits is.
    #[arg(long, requires = "budget", value_name = "COLUMN")]
    pub budget_column: Option<String>,
    /// The worst value of an objective that is of interest: latency_ms=80,quality=0.5. Without: from the first measurements.
    #[arg(long, value_delimiter = ',', value_name = "OBJECTIVE=VALUE,...")]
    pub region: Vec<String>,
    /// Noise of measurements, one standard error: latency_ms=0.03 is relative, quality=+0.02 absolute.
    #[arg(long, value_delimiter = ',', value_name = "OBJECTIVE=NOISE,...")]
    pub noise: Vec<String>,
    /// Columns that the sampler may read before it asks. One that is named as an objective with `predicted` before or after it
    /// is taken as a prediction of that objective.
    #[arg(long, value_delimiter = ',', value_name = "COLUMN,...")]
    pub cheap: Vec<String>,
    /// How candidates are chosen: autotune, nsga2, anneal, random.
    #[arg(long, default_value = "autotune", value_name = "NAME")]
    pub sampler: String,
    /// How many candidates are asked.
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub trials: u64,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
