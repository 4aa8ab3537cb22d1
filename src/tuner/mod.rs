//! The library that tunes: [`Tuner`] takes a model and a budget to a finished study, without the command line.
//!
//! `autotune tune`, `resume` and `evaluate` are callers of this module. Work that may crash or be killed runs in worker processes, and
//! these are the running program itself, started with the argument `worker`: a program that uses [`Tuner`] calls
//! [`worker_main`] first thing.

pub(crate) mod begin;
pub(crate) mod commands;
pub(crate) mod converted;
pub(crate) mod graders;
pub(crate) mod identity;
mod outcome;
pub(crate) mod parts;
pub(crate) mod preflight;
pub(crate) mod rates;
pub(crate) mod resume;
pub(crate) mod run;
pub(crate) mod task_checks;

use std::path::PathBuf;
use std::time::Duration;

use begin::Begun;

use crate::engine::EngineKind;
use crate::exit::Expected;
use crate::search::SamplerKind;
use crate::study::{Cost, Observer, Quality, Settings};
use crate::worker::workload::Workload;

pub use outcome::TuningOutcome;
pub use resume::Resume;

/// The folder of results that needs no name.
const RESULTS: &str = "results";

/// Serves as a worker process where this process was started as one, and then ends it; otherwise does nothing. Call it at the begin of
/// `main`, before anything is printed.
pub fn worker_main() {
    if std::env::args_os().nth(1).is_some_and(|word| word == "worker") {
        let done = crate::worker::serve::run(EngineKind::open, None);
        crate::os::process::exit_now(if done { 0 } else { 1 });
    }
}

/// A study to be run: a model, a memory budget, and what to search.
///
/// ```standalone_crate
/// use autotune::engine::EngineKind;
/// use autotune::study::Event;
/// use autotune::tuner::{Tuner, worker_main};
///
/// fn main() -> anyhow::Result<()> {
///     worker_main();
///     // The scripted engine stands in for a model; `Tuner::new("model.gguf", ...)` runs a real one.
///     let folder = std::env::temp_dir().join(format!("tuner-example-{}", std::process::id()));
///     std::fs::create_dir_all(&folder)?;
///     let model = folder.join("mock.json");
///     std::fs::write(&model, r#"{"mock": 1, "peak_bytes_f16": 300000000, "layers": 12, "kv_heads": 4, "ffn": 1024}"#)?;
///     let outcome = Tuner::new(model, 1_000_000_000)
///         .engine(EngineKind::Mock)
///         .space("smoke")
///         .tasks("warmup", 2)
///         .trials(4)
///         .results(folder.join("results"))
///         .reports(folder.join("reports"))
///         .run(&|| false, &mut |event: &Event| eprintln!("{event:?}"))?;
///     assert_eq!(outcome.trials().len(), 4);
///     assert!(outcome.report.is_file());
///     std::fs::remove_dir_all(&folder)?;
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Tuner {
    settings: Settings,
    results: PathBuf,
}

impl Tuner {
    /// A study of a model (a GGUF file or a Hugging Face model directory) under a budget on its peak memory, in bytes; everything else as
    /// the command line has it by default.
    #[must_use]
    pub fn new(model: impl Into<PathBuf>, budget_bytes: u64) -> Self {
        Self { settings: Settings::new(model.into(), budget_bytes), results: PathBuf::from(RESULTS) }
    }

    /// The same with complete settings.
    #[must_use]
    pub fn with_settings(settings: Settings) -> Self {
        Self { settings, results: PathBuf::from(RESULTS) }
    }

    /// The engine that runs candidates.
    #[must_use]
    pub fn engine(mut self, engine: EngineKind) -> Self {
        self.settings.engine = engine;
        self
    }

    /// The search space: a preset's name or a TOML file.
    #[must_use]
    pub fn space(mut self, space: &str) -> Self {
        space.clone_into(&mut self.settings.space);
        self
    }

    /// The workload that latency is measured under.
    #[must_use]
    pub fn workload(mut self, workload: Workload) -> Self {
        self.settings.workload = workload;
        self
    }

    /// The tasks that candidates are graded by, a built-in set or a file, and how many of them at most (0: all).
    #[must_use]
    pub fn tasks(mut self, tasks: &str, limit: usize) -> Self {
        tasks.clone_into(&mut self.settings.tasks);
        self.settings.task_limit = limit;
        self
    }

    /// The sampler that chooses candidates, and the seed of everything random.
    #[must_use]
    pub fn sampler(mut self, sampler: SamplerKind, seed: u64) -> Self {
        self.settings.sampler = sampler;
        self.settings.seed = seed;
        self
    }

    /// What stands for quality and for the cost of a request in the objectives.
    #[must_use]
    pub fn objectives(mut self, quality: Quality, cost: Cost) -> Self {
        self.settings.quality = quality;
        self.settings.cost = cost;
        self
    }

    /// Ends the study after this many trials, presets included; the limit on time goes unless [`Tuner::time`] sets one.
    #[must_use]
    pub fn trials(mut self, trials: u64) -> Self {
        self.settings.trials = Some(trials);
        self.settings.time_s = None;
        self
    }

    /// Begins no trial after this long.
    #[must_use]
    pub fn time(mut self, time: Duration) -> Self {
        self.settings.time_s = Some(time.as_secs());
        self
    }

    /// The folder of the database and the artifacts; `results` unless set.
    #[must_use]
    pub fn results(mut self, folder: impl Into<PathBuf>) -> Self {
        self.results = folder.into();
        self
    }

    /// The folder of the report; `reports` unless set.
    #[must_use]
    pub fn reports(mut self, folder: impl Into<PathBuf>) -> Self {
        self.settings.reports = folder.into();
        self
    }

    /// Runs the study to its end, or until `cancelled` is true, and analyses it. Every finished stage is durable before the next begins:
    /// a study that was interrupted goes on by [`Resume::run`].
    ///
    /// # Errors
    /// An [`Expected`] failure that says what to do (a wrong model, space or task set, a budget that nothing fits), or a database, disk or
    /// judge that broke.
    pub fn run<O: Observer>(
        self,
        cancelled: &dyn Fn() -> bool,
        observer: &mut O,
    ) -> anyhow::Result<TuningOutcome> {
        let found = std::path::absolute(&self.settings.model_path);
        let mut settings = self.settings;
        settings.model_path =
            found.map_err(|e| Expected::usage(format!("{}: {e}", settings.model_path.display())))?;
        let (begun, graders) = Begun::new(settings, &self.results, observer)?;
        begun.finish(graders, cancelled, observer)
    }
}

impl Resume {
    /// The newest study of a folder of results, with the settings that it was started with.
    #[must_use]
    pub fn newest(results: impl Into<PathBuf>) -> Self {
        Self {
            results: results.into(),
            study: None,
            time_s: None,
            trials: None,
            reports: None,
            sandbox: None,
            new_segment: false,
        }
    }

    /// Goes on with the study, as [`Tuner::run`].
    ///
    /// # Errors
    /// No such study, inputs that differ from those it was started with, or as [`Tuner::run`].
    pub fn run<O: Observer>(
        &self,
        cancelled: &dyn Fn() -> bool,
        observer: &mut O,
    ) -> anyhow::Result<TuningOutcome> {
        let (begun, graders) = resume::resume(self, observer)?;
        begun.finish(graders, cancelled, observer)
    }
}
