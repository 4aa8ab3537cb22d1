//! Exactly what the user said, by clap. Nothing below `settings` sees these types.

mod deliver;
mod look;
mod machine;
mod score;
mod tune;

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

pub use deliver::{
    ConvertArgs, ExportArgs, ExportFormat, FloatType, ManArgs, ReportArgs, ReportFormat, TierName,
    ValidateArgs,
};
pub use look::{CompareArgs, ImportanceArgs, ListArgs, SalvageArgs, TrialsArgs};
pub use machine::{BenchArgs, DoctorArgs, ProbeArgs};
pub use score::{AnswerStyle, CodebleuArgs, PasskArgs, ScoreCommand, SimulateArgs};
pub use tune::{
    CostAxis, DemoArgs, ImportanceName, PlanArgs, QualityAxis, RecoveryTextName, ResumeArgs, ScalingName,
    TuneArgs,
};

/// Find the compressed variants of a code language model that are worth running on this machine.
#[derive(Debug, Parser)]
#[command(
    name = "autotune",
    version,
    override_usage = "autotune [OPTIONS]\n       autotune <COMMAND>",
    after_help = "Exit codes: 0 done, 1 failure, 2 wrong input, 3 nothing fits, 4 the machine lacks something, \
                  5 every trial failed, 6 a check of validate failed, 130 paused (autotune resume continues)."
)]
pub struct Cli {
    /// Print data and errors only, no progress.
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Log what happens to standard error: -v stages and results, -vv also questions to the sampler, -vvv everything.
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Append the log to a file, with details (as -vv).
    #[arg(long, global = true, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
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
                    "`--{flag}` before `{command}` would apply to `tune`; write the flags of a command after its name"
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
    /// Download a small model (SmolLM2-135M, 93 MB) and tune it.
    Demo(Box<DemoArgs>),
    /// Continue the newest, or the named, study where it stopped.
    Resume(ResumeArgs),
    /// Show what this machine has and what it was measured to do.
    Probe(ProbeArgs),
    /// Check this machine for what a study needs: each check with a verdict and a remedy.
    Doctor(DoctorArgs),
    /// Predict what fits a budget, without loading the model.
    Plan(PlanArgs),
    /// Measure a model as it is: speed with intervals, peak memory, load time.
    Bench(BenchArgs),
    /// Convert a GGUF file to a Hugging Face model directory (safetensors), or the other way.
    Convert(ConvertArgs),
    /// List the studies of a database.
    Studies(ListArgs),
    /// List the trials of a study.
    Trials(TrialsArgs),
    /// Show parameter importance per objective of a study.
    Importance(ImportanceArgs),
    /// Score the candidates that another program writes as JSON lines, with the evaluation of `tune`.
    Evaluate(Box<TuneArgs>),
    /// Compare two studies: fronts, hypervolumes, dominance.
    Compare(CompareArgs),
    /// Write the report of a study.
    Report(ReportArgs),
    /// Export a trial: its model file, the measured figures, and the commands that run it.
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

/// How much protection is demanded before model-written code runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SandboxMode {
    /// Every layer that this machine offers; refuse if there is none.
    Auto,
    /// Refuse without all of landlock, seccomp and rlimits.
    Strict,
    /// DANGEROUS: run untrusted code with this user's full rights where no layer is available.
    Off,
}
