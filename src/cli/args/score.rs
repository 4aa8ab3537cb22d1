//! Arguments of `score` and `simulate`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::SandboxMode;

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
    /// JSON lines (or an array) of {"task_id": "...", "completion": "..."}, or "solution" for whole programs; `canonical` grades the tasks' own
    /// solutions.
    pub samples: PathBuf,
    /// Type of the samples.
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

/// Format of the texts in a samples file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AnswerStyle {
    /// Finished completions, appended to the prompt unchanged.
    Completion,
    /// Raw continuations of the prompt: cut where the function ends or at the task's stop texts.
    Continuation,
    /// Answers of a chat model: the code is extracted from them.
    Chat,
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
    /// Objectives with directions, and :log or :linear where the name does not imply it: latency_ms:min,quality:max.
    #[arg(long, value_delimiter = ',', required = true, value_name = "COLUMN:min|max,...")]
    pub objectives: Vec<String>,
    /// A ceiling on the budget column: 900MB, or a plain number.
    #[arg(long, requires = "budget_column", value_name = "SIZE")]
    pub budget: Option<String>,
    /// The column that the budget bounds; known before a point is chosen.
    #[arg(long, requires = "budget", value_name = "COLUMN")]
    pub budget_column: Option<String>,
    /// Bound on an objective: latency_ms=80,quality=0.5. Default: derived from the first measurements.
    #[arg(long, value_delimiter = ',', value_name = "OBJECTIVE=VALUE,...")]
    pub region: Vec<String>,
    /// Noise of measurements, one standard error: latency_ms=0.03 is relative, quality=+0.02 absolute.
    #[arg(long, value_delimiter = ',', value_name = "OBJECTIVE=NOISE,...")]
    pub noise: Vec<String>,
    /// Columns that the sampler may read in advance. One that is named as an objective with `predicted` before or after it
    /// is taken as a prediction of that objective.
    #[arg(long, value_delimiter = ',', value_name = "COLUMN,...")]
    pub cheap: Vec<String>,
    /// How candidates are chosen: autotune, nsga2, anneal, random.
    #[arg(long, default_value = "autotune", value_name = "NAME")]
    pub sampler: String,
    /// Number of candidates to choose.
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub trials: u64,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
