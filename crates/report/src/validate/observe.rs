//! Observing one model under a plan, each step in a worker of its own.

use autotune_core::metric::names;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Plan, exercises};
use autotune_core::space::KvType;
use autotune_core::stats::Interval;
use autotune_engine::EngineKind;
use autotune_engine::exercise::Exercised;
use autotune_engine::generate::Generation;
use autotune_quality::divergence::Divergence;
use autotune_store as store;
use autotune_study::prepare::{grading_run, held_out, timing_text};
use autotune_study::{Grading, Settings, Stopped};
use autotune_worker::protocol::{Job, Message, TimingPlan};
use autotune_worker::summary::TimingSummary;
use autotune_worker::supervisor::{End, Limits, SpawnError, Supervisor};
use autotune_worker::timing::TimingLimits;

/// What grading a model on tasks gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Graded {
    /// Share of the tasks solved.
    pub pass_at_1: Option<Interval>,
    /// Mean CodeBLEU.
    pub codebleu: Option<Interval>,
    /// The graded completions.
    pub generations: Vec<store::Generation>,
}

/// What was seen of one model. A step that failed leaves its reason in `faults`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// Timing of the plan's workload.
    pub timing: Option<TimingSummary>,
    /// Peak memory while it was timed, in bytes.
    pub peak_bytes: Option<u64>,
    /// The exercises, in their order.
    pub exercised: Vec<Exercised>,
    /// How it differs from the reference on held-out code.
    pub divergence: Option<Divergence>,
    /// The graded tasks.
    pub graded: Option<Graded>,
    /// Steps that failed: name and reason.
    pub faults: Vec<(&'static str, String)>,
}

/// Observes models.
pub struct Bench<'a> {
    /// Runs the jobs.
    pub supervisor: &'a Supervisor,
    /// The engine.
    pub engine: EngineKind,
    /// How to run.
    pub plan: &'a Plan,
    /// When timing ends.
    pub timing: TimingLimits,
    /// A step may take this long.
    pub patience: Duration,
    /// A folder for the reference's predictions.
    pub scratch: &'a Path,
    /// Asked often; true ends the work.
    pub cancelled: &'a dyn Fn() -> bool,
}

/// A model to observe and how it stores its KV cache.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// The file.
    pub path: PathBuf,
    /// Type of the K cache.
    pub kv_k: KvType,
    /// Type of the V cache.
    pub kv_v: KvType,
    /// Whether weights may be repacked.
    pub repack: bool,
}

impl Bench<'_> {
    /// Observes the reference: as [`Bench::artifact`], and its predictions on held-out code are kept for the comparison.
    ///
    /// # Errors
    /// The user stopped it, or no worker can be started.
    pub fn reference(
        &self,
        subject: &Subject,
        grading: Option<&mut dyn Grading>,
        tell: &mut dyn FnMut(&str),
    ) -> anyhow::Result<Observation> {
        let mut seen = self.common(subject, tell)?;
        tell("the reference's predictions on held-out code");
        let mut run = grading_run(self.plan.threads, subject.kv_k, subject.kv_v, subject.repack);
        run.sequences = 1;
        let job = Job::Reference {
            engine: self.engine,
            artifact: subject.path.clone(),
            run,
            texts: held_out(),
            windows: Settings::WINDOWS,
            window_tokens: Settings::WINDOW_TOKENS,
            out: self.predictions(),
        };
        self.step(&mut seen, "predictions", &job, &mut |_| ())?;
        self.assess(&mut seen, subject, None, grading, tell)?;
        Ok(seen)
    }

    /// Observes an artifact; compares it with the reference's predictions where [`Bench::reference`] left some.
    ///
    /// # Errors
    /// The user stopped it, or no worker can be started.
    pub fn artifact(
        &self,
        subject: &Subject,
        grading: Option<&mut dyn Grading>,
        tell: &mut dyn FnMut(&str),
    ) -> anyhow::Result<Observation> {
        let mut seen = self.common(subject, tell)?;
        let predictions = self.predictions();
        let predictions = predictions.exists().then_some(predictions);
        self.assess(&mut seen, subject, predictions, grading, tell)?;
        Ok(seen)
    }

    fn predictions(&self) -> PathBuf {
        self.scratch.join("predictions.bin")
    }

    /// Timing, memory and exercises.
    fn common(&self, subject: &Subject, tell: &mut dyn FnMut(&str)) -> anyhow::Result<Observation> {
        let mut seen = Observation::default();
        tell("timing and peak memory");
        let job = Job::Measure {
            engine: self.engine,
            artifact: subject.path.clone(),
            run: self.plan.run(self.plan.batch, subject.kv_k, subject.kv_v, subject.repack),
            workload: self.plan.workload,
            text: timing_text(),
            plan: TimingPlan::Requests { limits: self.timing },
        };
        let mut samples = None;
        let peak = self.step(&mut seen, "timing", &job, &mut |message| {
            if let Message::Measured(s) = message {
                samples = Some(s);
            }
        })?;
        seen.timing = samples.map(|s| s.summary(&self.plan.workload));
        seen.peak_bytes = peak;
        tell("hard prompts and long generations");
        let job = Job::Exercise {
            engine: self.engine,
            artifact: subject.path.clone(),
            run: self.plan.run(1, subject.kv_k, subject.kv_v, subject.repack),
            exercises: exercises(self.plan.context),
        };
        let mut exercised = Vec::new();
        self.step(&mut seen, "exercises", &job, &mut |message| {
            if let Message::Exercised(e) = message {
                exercised.push(e);
            }
        })?;
        seen.exercised = exercised;
        Ok(seen)
    }

    /// Divergence and tasks, under the batch-invariant settings of a study.
    fn assess(
        &self,
        seen: &mut Observation,
        subject: &Subject,
        reference: Option<PathBuf>,
        grading: Option<&mut dyn Grading>,
        tell: &mut dyn FnMut(&str),
    ) -> anyhow::Result<()> {
        let prompts = grading.as_ref().map(|g| g.prompts().to_vec()).unwrap_or_default();
        let tasks = grading.as_ref().map(|g| g.tasks()).unwrap_or_default();
        if reference.is_none() && prompts.is_empty() {
            return Ok(());
        }
        tell("divergence and tasks");
        let wanted = prompts.len();
        let job = Job::Assess {
            engine: self.engine,
            artifact: subject.path.clone(),
            run: grading_run(self.plan.threads, subject.kv_k, subject.kv_v, subject.repack),
            reference,
            prompts,
            tasks,
        };
        let (mut divergence, mut generations) = (None, Vec::<Generation>::new());
        self.step(seen, "tasks", &job, &mut |message| match message {
            Message::Diverged { divergence: d, .. } => divergence = Some(d),
            Message::Generated(g) => generations.push(g),
            _ => {}
        })?;
        seen.divergence = divergence;
        if let Some(grading) = grading.filter(|_| wanted > 0 && generations.len() == wanted) {
            let graded = grading.grade(&generations)?;
            let of = |name: &str| {
                let row = graded.measurements.iter().find(|m| m.metric == name)?;
                let value = row.value?;
                let (low, high) = (row.low.unwrap_or(value), row.high.unwrap_or(value));
                Some(Interval { value, low, high, samples: row.samples })
            };
            seen.graded = Some(Graded {
                pass_at_1: of(names::PASS_AT_1),
                codebleu: of(names::CODEBLEU),
                generations: graded.generations,
            });
        }
        Ok(())
    }

    /// Runs a job; a worker that fails leaves a fault. Returns the peak memory.
    fn step(
        &self,
        seen: &mut Observation,
        name: &'static str,
        job: &Job,
        each: &mut dyn FnMut(Message),
    ) -> anyhow::Result<Option<u64>> {
        let limits = Limits { time: self.patience, memory_bytes: None };
        let outcome = self
            .supervisor
            .run(job, &limits, self.cancelled, each)
            .map_err(|e: SpawnError| anyhow::Error::from(e))?;
        match outcome.end {
            End::Done => {}
            End::Cancelled => return Err(Stopped.into()),
            End::Failed(why) | End::Crashed(why) | End::Refused(why) => seen.faults.push((name, why)),
            End::TimedOut => {
                let text = format!("it was not done within {} s", self.patience.as_secs());
                seen.faults.push((name, text));
            }
            End::OverMemory => seen.faults.push((name, "it needed too much memory".to_owned())),
        }
        Ok(outcome.peak_bytes)
    }
}
