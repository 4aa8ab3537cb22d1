//! Arguments of `bench`, `probe` and `doctor`.

use clap::Args;

use super::{EngineName, StoreArgs};

/// `autotune probe`
#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    /// Re-measure the ceilings although they are cached.
    #[arg(long)]
    pub refresh: bool,
}

/// `autotune doctor`
#[derive(Debug, Args)]
#[command(after_help = "Exit codes: 0 no problem (warnings included), 4 at least one problem.")]
pub struct DoctorArgs {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub store: StoreArgs,
}

/// `autotune bench`
#[derive(Debug, Args)]
#[command(
    after_help = "One row for each combination of --threads, --kv, --batch and --ubatch, each measured in a process of its own:\n\
                  autotune bench model.gguf --threads 1,2 --kv f16,q8_0 --workload chat\n\n\
                  docs/src/explanation/measuring.md explains the numbers."
)]
pub struct BenchArgs {
    /// The model, as for `tune`. Default: the demo model that `make` installs.
    pub model: Option<String>,
    /// Compute threads. Default: all that are usable.
    #[arg(long, value_delimiter = ',', value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: Vec<u32>,
    /// Types of the KV cache: f32, f16, bf16, q8_0, q4_0, or K and V separately, as in q8_0/f16.
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
    /// Workload: chat, agents, batch, or PROMPT:OUTPUT:REQUESTS in tokens, with the shared prefix of all prompts as an optional fourth number.
    #[arg(long, default_value = "chat", value_name = "WORKLOAD")]
    pub workload: String,
    /// Stop a combination when the 95 % interval of the median is within this share of it.
    #[arg(long, default_value_t = 0.02, value_name = "SHARE")]
    pub target: f64,
    /// Time at least this many requests, where the time allows.
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub requests: u32,
    /// Start no requests that would end after this long, for each combination.
    #[arg(long, default_value = "30s", value_name = "DURATION", allow_hyphen_values = true)]
    pub cap: String,
    /// Capacity of this machine's battery in watt-hours, to report the share of it that 1,000 tokens take.
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
