//! How far compressed models lie from the whole one:
//!
//! ```text
//! cargo build --release && cargo run --release --example prune_table -- MODEL.gguf FOLDER [importance|sparsity|calibration]
//! ```
//!
//! `importance` prunes as many KV groups as FFN channels, keeps F16, and compares with the reference's predictions on held-out code, by what
//! pruning went by; `sparsity` sets single weights to zero; `calibration` rounds to few bits with and without activations. All of them
//! without the third word. Prints Markdown. What training mends is measured by `autotune evaluate --recover` (docs/src/project/benchmarks/compression.md).
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use autotune::compress::sparse::sparsify;
use autotune::engine::EngineKind;
use autotune::model::ActivationStats;
use autotune::model::gguf::Gguf;
use autotune::model::is_quantized;
use autotune::quality::divergence::Divergence;
use autotune::space::{Candidate, Config, KvType, Value};
use autotune::study::prepare::{grading_run, held_out, timing_text};
use autotune::worker::artifact::timing_run;
use autotune::worker::protocol::{BuildRequest, ImportanceSource, Job, Message, TimingPlan};
use autotune::worker::supervisor::{End, Limits, Supervisor};
use autotune::worker::workload::Workload;

/// Shares of KV groups and FFN channels that go.
const PRUNED: [f64; 4] = [0.05, 0.1, 0.2, 0.3];
const WINDOWS: u32 = 8;
const WINDOW_TOKENS: u32 = 256;
const CALIBRATION_TOKENS: u32 = 4096;
const SEED: u64 = 1;

struct Lab {
    supervisor: Supervisor,
    folder: PathBuf,
    reference: PathBuf,
    threads: u32,
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(model), Some(folder)) = (arguments.next(), arguments.next()) else {
        bail!("usage: prune_table MODEL.gguf FOLDER [importance|sparsity|calibration]");
    };
    let table = arguments.next();
    let wanted = |name: &str| table.as_deref().is_none_or(|t| t == name);
    if !["importance", "sparsity", "calibration"].iter().any(|name| wanted(name)) {
        bail!("there is no table `{}`", table.unwrap_or_default());
    }
    let folder = PathBuf::from(folder);
    std::fs::create_dir_all(&folder)?;
    // target/release/examples/prune_table: the program lies two levels up.
    let here = std::env::current_exe()?;
    let program = here.parent().and_then(Path::parent).context("no folder")?.join("autotune");
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u32);
    let mut lab =
        Lab { supervisor: Supervisor::new(program), reference: PathBuf::from(&model), folder, threads };
    lab.prepare(Path::new(&model))?;
    if wanted("importance") {
        lab.importance()?;
    }
    if wanted("sparsity") {
        lab.sparsity()?;
    }
    if wanted("calibration") {
        lab.calibration()?;
    }
    Ok(())
}

fn config(share: f64, ty: Option<&str>) -> anyhow::Result<Config> {
    let mut candidate = Candidate::default();
    if share > 0.0 {
        candidate = candidate
            .with("prune.keep_ffn", Value::Real(1.0 - share))
            .with("prune.keep_kv_heads", Value::Real(1.0 - share));
    }
    for group in ["attn", "ffn", "embd"] {
        if let Some(ty) = ty {
            candidate = candidate.with(&format!("weights.{group}"), Value::Text(ty.to_owned()));
        }
    }
    Ok(Config::from_candidate(&candidate)?)
}

fn told(d: &Divergence) -> String {
    format!(
        "{:.3} ± {:.3} ({:.0} %)",
        d.kl_mean.value,
        d.kl_mean.high - d.kl_mean.value,
        100.0 * d.top1_agreement.value
    )
}

impl Lab {
    /// Runs a job whose result is not there yet.
    fn once(&self, job: &Job, out: &Path) -> anyhow::Result<()> {
        if out.is_file() { Ok(()) } else { self.run(job, |_| {}) }
    }

    fn run(&self, job: &Job, mut each: impl FnMut(Message)) -> anyhow::Result<()> {
        let limits = Limits { time: Duration::from_secs(3600), memory_bytes: None };
        let outcome = self.supervisor.run(job, &limits, &|| false, &mut each)?;
        match outcome.end {
            End::Done => Ok(()),
            end => bail!("{}: {end:?}", job.name()),
        }
    }

    /// The reference, its predictions, activations and gradients.
    fn prepare(&mut self, model: &Path) -> anyhow::Result<()> {
        let reference = self.folder.join("reference.gguf");
        if is_quantized(&Gguf::open(model)?) {
            let request =
                BuildRequest::Reference { source: model.to_owned(), out: reference.clone(), seed: SEED };
            self.once(&Job::Build { request }, &reference)?;
            self.reference = reference;
        }
        let (model, text, threads) = (self.reference.clone(), timing_text(), self.threads);
        self.activations(&model, &self.folder.join("activations.json"))?;
        let max_tokens = CALIBRATION_TOKENS;
        let out = self.folder.join("gradients.json");
        let job = Job::Gradients { model: model.clone(), text, max_tokens, threads, out: out.clone() };
        self.once(&job, &out)?;
        let mut run = grading_run(threads, KvType::F16, KvType::F16, false);
        run.sequences = 1;
        let out = self.folder.join("predictions.bin");
        let job = Job::Reference {
            engine: EngineKind::LlamaCpp,
            artifact: model,
            run,
            texts: held_out(),
            windows: WINDOWS,
            window_tokens: WINDOW_TOKENS,
            out: out.clone(),
        };
        self.once(&job, &out)
    }

    /// What pruning costs, by what it went by.
    fn importance(&self) -> anyhow::Result<()> {
        println!("| pruned | by magnitude | by activations | by gradients |");
        println!("|---|---|---|---|");
        for share in PRUNED {
            let mut cells = Vec::new();
            for source in [ImportanceSource::Magnitude, ImportanceSource::Activations, self.gradients()] {
                let path = self.folder.join("pruned.gguf");
                self.build(&self.reference, &config(share, None)?, source, &path)?;
                cells.push(told(&self.diverge(&path)?));
            }
            println!("| {:.0} % | {} |", 100.0 * share, cells.join(" | "));
        }
        Ok(())
    }

    fn gradients(&self) -> ImportanceSource {
        ImportanceSource::Gradients(self.folder.join("gradients.json"))
    }

    fn build(
        &self,
        reference: &Path,
        config: &Config,
        importance: ImportanceSource,
        out: &Path,
    ) -> anyhow::Result<()> {
        let stats = Some(self.folder.join("activations.json"));
        self.build_with(reference, config, importance, stats, false, out)
    }

    fn build_with(
        &self,
        reference: &Path,
        config: &Config,
        importance: ImportanceSource,
        stats: Option<PathBuf>,
        scale: bool,
        out: &Path,
    ) -> anyhow::Result<()> {
        let request = BuildRequest::Gguf {
            source: reference.to_owned(),
            reference: reference.to_owned(),
            config: config.clone(),
            stats,
            importance,
            scale,
            cache: self.folder.join("cache"),
            out: out.to_owned(),
            threads: self.threads,
        };
        std::fs::create_dir_all(self.folder.join("cache"))?;
        self.run(&Job::Build { request }, |_| {})
    }

    fn diverge(&self, artifact: &Path) -> anyhow::Result<Divergence> {
        let mut run = grading_run(self.threads, KvType::F16, KvType::F16, false);
        run.sequences = 4;
        let job = Job::Assess {
            engine: EngineKind::LlamaCpp,
            artifact: artifact.to_owned(),
            run,
            reference: Some(self.folder.join("predictions.bin")),
            prompts: Vec::new(),
            tasks: Vec::new(),
        };
        let mut found = None;
        self.run(&job, |message| {
            if let Message::Diverged { divergence, .. } = message {
                found = Some(divergence);
            }
        })?;
        found.context("no divergence was reported")
    }

    /// What zeros in place of single weights cost, and whether they are any faster.
    fn sparsity(&self) -> anyhow::Result<()> {
        println!("\n| zeros | by magnitude | by Wanda | llama.cpp, ms a step | torch, ms a step |");
        println!("|---|---|---|---|---|");
        let source = Gguf::open(&self.reference)?;
        let stats: ActivationStats =
            serde_json::from_str(&std::fs::read_to_string(self.folder.join("activations.json"))?)?;
        for share in [0.0, 0.5] {
            let mut cells = Vec::new();
            let path = self.folder.join("sparse.gguf");
            for stats in [None, Some(&stats)] {
                sparsify(&source, stats, share, &path)?;
                cells.push(told(&self.diverge(&path)?));
            }
            for engine in [EngineKind::LlamaCpp, EngineKind::Torch] {
                cells.push(format!("{:.1}", self.step_ms(engine, &path)?));
            }
            println!("| {:.0} % | {} |", 100.0 * share, cells.join(" | "));
        }
        Ok(())
    }

    /// Few bits rounded as they are, with importance data, and after columns were scaled by the activations that they meet.
    fn calibration(&self) -> anyhow::Result<()> {
        println!("\n| type | rounded | with importance data | and channels scaled |");
        println!("|---|---|---|---|");
        let stats = self.folder.join("activations.json");
        let ways = [(None, false), (Some(stats.clone()), false), (Some(stats), true)];
        for ty in ["Q8_0", "Q6_K", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "IQ4_NL", "Q3_K", "Q2_K"] {
            let mut cells = Vec::new();
            for (stats, scale) in &ways {
                let out = self.folder.join("rounded.gguf");
                let config = config(0.0, Some(ty))?;
                let by = ImportanceSource::Activations;
                self.build_with(&self.reference, &config, by, stats.clone(), *scale, &out)?;
                cells.push(told(&self.diverge(&out)?));
            }
            println!("| {ty} | {} |", cells.join(" | "));
        }
        Ok(())
    }

    fn activations(&self, model: &Path, out: &Path) -> anyhow::Result<()> {
        let job = Job::Activations {
            model: model.to_owned(),
            text: timing_text(),
            max_tokens: CALIBRATION_TOKENS,
            threads: self.threads,
            out: out.to_owned(),
        };
        self.once(&job, out)
    }

    /// Median time of a decode step of one sequence.
    fn step_ms(&self, engine: EngineKind, artifact: &Path) -> anyhow::Result<f64> {
        let workload: Workload = "128:32:1".parse().map_err(|e| anyhow::anyhow!("{e}"))?;
        let base = Config::from_candidate(&Candidate::default())?;
        let job = Job::Measure {
            engine,
            artifact: artifact.to_owned(),
            run: timing_run(&Config { threads: self.threads, ..base }, &workload),
            workload,
            text: timing_text(),
            plan: TimingPlan::Parts { rounds: 3, prompt_tokens: 128, steps: 32 },
        };
        let mut steps = Vec::new();
        self.run(&job, |message| {
            if let Message::Measured(samples) = message {
                steps = samples.step_ms.clone();
            }
        })?;
        steps.sort_by(f64::total_cmp);
        steps.get(steps.len() / 2).copied().context("no step was timed")
    }
}
