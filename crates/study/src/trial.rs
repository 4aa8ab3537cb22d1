//! One trial up the rungs: build, measure, diverge, grade; each rung durable before the next begins.

use autotune_core::metric::names;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::context::StudyContext;
use super::early::{Early, LOOK};
use super::event::{Event, Observer};
use super::grading::Grading;
use super::halt::{Ended, Halt};
use super::kit::Kit;
use super::metrics;
use super::prepare::{Prepared, grading_run};
use super::remeasure::{Doubt, Earlier, better};
use super::settings::Settings;
use super::twin::{measured_at, twin};
use super::{MachineFault, Stopped};
use autotune_core::space::Config;
use autotune_core::units::Bytes;
use autotune_engine::finite;
use autotune_engine::generate::Generation;
use autotune_host::identity::sha256_file;
use autotune_quality::divergence::Divergence;
use autotune_store::{
    Artifact, Disturbed, EndState, EventKind, Failure, FailureKind, FinishedRung, LiveTrial, NewMeasurement,
    Rung, TrialRecord, Verdicts,
};
use autotune_worker::artifact::{Measured, Request, measure, timing_run};
use autotune_worker::protocol::{BuildRequest, Built, Job, Message, TimingPlan};
use autotune_worker::supervisor::{End, Limits, Outcome};

/// Everything that a trial needs, borrowed from the study.
pub struct Climb<'a> {
    /// The study's surroundings.
    pub cx: StudyContext<'a>,
    /// What was prepared.
    pub prepared: &'a Prepared,
    /// What may end a trial early.
    pub early: Early<'a>,
}

/// The timing of an artifact as a trial's rung.
pub(super) fn timing_request(
    kit: &dyn Kit,
    settings: &Settings,
    prepared: &Prepared,
    config: &Config,
    artifact: &Path,
) -> Request {
    Request {
        engine: kit.engine(),
        artifact: artifact.to_owned(),
        run: timing_run(config, &settings.workload),
        workload: settings.workload,
        text: prepared.timing_text.clone(),
        plan: TimingPlan::Requests { limits: settings.timing },
        budget_bytes: Some(settings.budget_bytes),
        timeout: Duration::from_secs(settings.rung_timeout_s),
    }
}

impl Climb<'_> {
    /// Takes a trial from the rung it has reached to its end.
    ///
    /// # Errors
    /// The user stopped the study ([`Stopped`]; the trial goes back to the queue with what it has), or the study itself broke: the
    /// disk, the database, the judge.
    pub fn run(
        &self,
        mut trial: LiveTrial,
        config: &Config,
        grading: &mut dyn Grading,
        observer: &mut dyn Observer,
    ) -> anyhow::Result<TrialRecord> {
        match self.rungs(&mut trial, config, grading, observer) {
            Ok(()) => Ok(self.cx.store.end_trial(trial, EndState::Complete, None)?),
            Err(Halt::Ended(Ended { state, failure })) => {
                Ok(self.cx.store.end_trial(trial, state, Some(&failure))?)
            }
            Err(Halt::Study(error)) => {
                // Also after an error that is not ours to mend: a later resume may find the disk emptied. Where even this cannot be
                // written, the trial stays with a worker that will be dead, which is as good.
                let _ = self.cx.store.release(trial);
                Err(error)
            }
        }
    }

    fn rungs(
        &self,
        trial: &mut LiveTrial,
        config: &Config,
        grading: &mut dyn Grading,
        observer: &mut dyn Observer,
    ) -> Result<(), Halt> {
        if trial.rung() < Some(Rung::Built) {
            let artifact = self.artifact_path(config);
            self.build(trial, config, &artifact, observer)?;
        } else if trial.rung() < Some(Rung::Graded) {
            // An interrupted clean-up, a deleted or a damaged file: the same content is made again.
            self.restore(trial.record(), config, observer)?;
        }
        let recorded = trial.record().artifact.as_ref().map(|a| self.cx.results.join(&a.path));
        let artifact = recorded.unwrap_or_else(|| self.artifact_path(config));
        if trial.rung() < Some(Rung::Measured) {
            self.measure(trial, config, &artifact, observer)?;
        }
        self.within_budget(trial)?;
        if trial.rung() < Some(Rung::Graded) && !self.as_twin(trial, config, observer)? {
            self.assess(trial, config, &artifact, grading, observer)?;
        }
        Ok(())
    }

    /// Takes divergence and grades from a trial that differs only in how fast it runs; false where there is none.
    fn as_twin(
        &self,
        trial: &mut LiveTrial,
        config: &Config,
        observer: &mut dyn Observer,
    ) -> Result<bool, Halt> {
        let trials = self.cx.store.trials(trial.record().study)?;
        let Some(twin) = twin(&trials, trial.record(), config) else { return Ok(false) };
        self.note(
            trial,
            EventKind::Twin,
            &serde_json::json!({ "trial": trial.number(), "of": twin.number }),
        )?;
        for rung in [Rung::Diverged, Rung::Graded] {
            if trial.rung() >= Some(rung) {
                continue;
            }
            let mut finished = FinishedRung::new(rung, Timestamp::now(), Duration::ZERO);
            finished.measurements = measured_at(twin, rung);
            if rung == Rung::Graded {
                finished.generations = self.cx.store.generations(twin.id)?;
            }
            let text = format!("{rung} as trial {}, which has the same artifact", twin.number);
            self.finish(trial, finished, text, observer)?;
        }
        Ok(true)
    }

    /// Where the artifact of a configuration lies. What only concerns running does not count: such candidates share a file.
    fn artifact_path(&self, config: &Config) -> PathBuf {
        let trained = super::recover::is_trained(self.cx.settings, self.cx.kit, config);
        let origin = super::artifacts::origin(self.cx.settings, self.cx.kit, config, trained);
        let key = super::artifact_key(config, &origin);
        self.cx.results.join("artifacts").join(format!("{key}.{}", self.cx.kit.extension()))
    }

    fn build(
        &self,
        trial: &mut LiveTrial,
        config: &Config,
        path: &Path,
        observer: &mut dyn Observer,
    ) -> Result<(), Halt> {
        let (started, clock) = (Timestamp::now(), Instant::now());
        let sidecar = path.with_extension("built.json");
        let known =
            std::fs::read_to_string(&sidecar).ok().and_then(|t| serde_json::from_str::<Built>(&t).ok());
        // A file without a recorded hash, or with another content, is not used: it may be damaged.
        let is_whole = |built: &Built| {
            built.sha256.as_ref().is_some_and(|sha256| sha256_file(path).is_ok_and(|found| found == *sha256))
        };
        let built = match known.filter(is_whole) {
            Some(built) => Built { quantized: 0, reused: built.quantized + built.reused, ..built },
            None => {
                let built = self.make(trial.number(), config, path, observer)?;
                let built = Built { sha256: Some(sha256_file(path)?), ..built };
                let text = serde_json::to_string(&built).map_err(anyhow::Error::from)?;
                autotune_core::atomic_file::write(&sidecar, text.as_bytes())?;
                built
            }
        };
        let mut rung = FinishedRung::new(Rung::Built, started, clock.elapsed());
        rung.measurements = metrics::of_build(&built);
        let relative = path.strip_prefix(self.cx.results).unwrap_or(path);
        rung.artifact = Some(Artifact {
            path: relative.display().to_string(),
            bytes: built.bytes,
            hash: built.hash.clone(),
            sha256: built.sha256.clone(),
        });
        let mut summary = format!("{}", Bytes(built.bytes));
        if built.reused > 0 {
            summary += &format!(", {} of {} tensors reused", built.reused, built.reused + built.quantized);
        }
        if !built.fallbacks.is_empty() {
            summary += &format!(", {} fallbacks", built.fallbacks.len());
            let details = serde_json::json!({ "trial": trial.number(), "fallbacks": built.fallbacks });
            self.note(trial, EventKind::Fallbacks, &details)?;
        }
        if let Some(layers) = &built.layers {
            let mut details = serde_json::to_value(layers).map_err(anyhow::Error::from)?;
            details["trial"] = trial.number().into();
            self.note(trial, EventKind::Layers, &details)?;
        }
        if let Some(recovery) = &built.recovery {
            let (before, after) = (recovery.before, recovery.after);
            summary += &format!(", trained {:.0} s: KL {before:.3} to {after:.3}", recovery.spent_s);
        }
        if !built.kept.is_empty() {
            summary += &format!(", kept {}", built.kept);
            self.note(
                trial,
                EventKind::Pruned,
                &serde_json::json!({ "trial": trial.number(), "kept": built.kept }),
            )?;
        }
        self.finish(trial, rung, summary, observer)
    }

    /// Makes the artifact of a configuration at a path.
    pub(super) fn make(
        &self,
        number: u64,
        config: &Config,
        path: &Path,
        observer: &mut dyn Observer,
    ) -> Result<Built, Halt> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        match self.recovered(number, config, observer)? {
            None => {
                let request = self.cx.kit.build_request(config, &self.prepared.materials, path);
                self.built(request, number, observer)
            }
            Some(recovered) => {
                let request = self.cx.kit.build_request(&recovered.config, &recovered.materials, path);
                Ok(recovered.tell(self.built(request, number, observer)?))
            }
        }
    }

    /// Builds the requested artifact.
    pub(super) fn built(
        &self,
        request: BuildRequest,
        number: u64,
        observer: &mut dyn Observer,
    ) -> Result<Built, Halt> {
        let mut built = None;
        let outcome = self.work(&Job::Build { request }, number, observer, &mut |message| {
            if let Message::Built(b) = message {
                built = Some(b);
            }
        })?;
        self.settle(number, &outcome, "build", None, observer)?;
        built.ok_or_else(|| {
            Halt::Ended(Ended::failed(FailureKind::Crash, "the build ended without an artifact"))
        })
    }

    fn measure(
        &self,
        trial: &mut LiveTrial,
        config: &Config,
        path: &Path,
        observer: &mut dyn Observer,
    ) -> Result<(), Halt> {
        let (started, clock) = (Timestamp::now(), Instant::now());
        let workload = self.cx.settings.workload;
        let request = timing_request(self.cx.kit, self.cx.settings, self.prepared, config, path);
        let measured = self.measure_calmly(trial, &request, observer)?;
        let outcome = &measured.outcome;
        let peak = outcome.peak_bytes.ok_or_else(|| {
            Halt::Ended(Ended::failed(
                FailureKind::NoMemoryReading,
                "the worker's peak memory could not be read",
            ))
        })?;
        let samples = measured
            .samples
            .as_ref()
            .ok_or_else(|| Halt::Ended(Ended::failed(FailureKind::Crash, "no timing was reported")))?;
        let summary = samples.summary(&workload);
        let mut rung = FinishedRung::new(Rung::Measured, started, clock.elapsed());
        rung.measurements = metrics::of_timing(samples, &summary, self.cx.settings, &measured, peak);
        let text = format!(
            "{:.0} ms a request, {:.0} tok/s, {}",
            summary.latency_p50_ms.value,
            summary.throughput_tokens_per_s.value,
            Bytes(peak)
        );
        self.finish(trial, rung, text, observer)
    }

    /// Measures; a second time when the machine was busy or drifted meanwhile.
    fn measure_calmly(
        &self,
        trial: &LiveTrial,
        request: &Request,
        observer: &mut dyn Observer,
    ) -> Result<Measured, Halt> {
        let number = trial.number();
        let once = |observer: &mut dyn Observer| -> Result<Measured, Halt> {
            let measured = measure(self.cx.supervisor, request.clone(), self.cx.cancelled, &mut |_| {})?;
            self.settle(number, &measured.outcome, "measure", request.budget_bytes, observer)?;
            Ok(measured)
        };
        let first = once(observer)?;
        if first.machine.is_none() {
            return Ok(first);
        }
        let earlier = self.earlier(trial, request.run.threads)?;
        let Some(doubt) = Doubt::of(&first, &earlier) else { return Ok(first) };
        let Doubt { why, again } = doubt;
        observer.hear(&Event::Remark {
            text: format!("trial {number}: {why}{}", if again { "; it is re-measured" } else { "" }),
        });
        let event = serde_json::to_value(Disturbed { trial: number, again, why });
        self.note(trial, EventKind::Disturbed, &event.map_err(anyhow::Error::from)?)?;
        if !again {
            return Ok(first);
        }
        Ok(better(first, once(observer)?, earlier.usual()))
    }

    /// What trials with as many threads say of the machine.
    fn earlier(&self, trial: &LiveTrial, threads: u32) -> Result<Earlier, Halt> {
        let study = trial.record().study;
        let trials = self.cx.store.trials(study)?;
        let as_many =
            |t: &&TrialRecord| Config::from_candidate(&t.candidate).is_ok_and(|c| c.threads == threads);
        let paces = trials.iter().filter(as_many).filter_map(|t| t.value(metrics::PACE)).collect();
        Ok(Earlier { paces, remeasured: self.cx.store.remeasured(study)? })
    }

    /// Ends a trial whose measured peak, or energy, is over what was declared. Reads the stored values, since the study may have been killed behind the
    /// measurement and before its consequence.
    fn within_budget(&self, trial: &LiveTrial) -> Result<(), Halt> {
        let budget = self.cx.settings.budget_bytes;
        if let Some(peak) =
            trial.record().value(names::PEAK_MEMORY_BYTES).filter(|peak| *peak > budget as f64)
        {
            let (peak, budget) = (Bytes(peak as u64), Bytes(budget));
            let text = format!("its measured peak of {peak} is over the budget of {budget}");
            return Err(Halt::Ended(Ended::over_budget(text)));
        }
        match (trial.record().value(names::JOULES_PER_TOKEN), self.cx.settings.bounds.joules_per_token) {
            (Some(joules), Some(most)) if joules > most => {
                let text = format!("its measured {joules:.2} J a token are over --max-energy of {most} J");
                let failure = Failure { kind: FailureKind::OverEnergy, text };
                Err(Halt::Ended(Ended { state: EndState::Infeasible, failure }))
            }
            _ => Ok(()),
        }
    }

    fn assess(
        &self,
        trial: &mut LiveTrial,
        config: &Config,
        path: &Path,
        grading: &mut dyn Grading,
        observer: &mut dyn Observer,
    ) -> Result<(), Halt> {
        let diverged_before = trial.rung() >= Some(Rung::Diverged);
        let hopeless = |trial: &LiveTrial| -> anyhow::Result<Option<Ended>> {
            Ok(self.early.hopeless(trial.record())?.map(|why| Ended::early(FailureKind::NotGraded, why)))
        };
        if diverged_before && let Some(ended) = hopeless(trial)? {
            return Err(Halt::Ended(ended));
        }
        let rival = self.early.rival(trial.record())?;
        let (started, clock) = (Timestamp::now(), Instant::now());
        let job = Job::Assess {
            engine: self.cx.kit.engine(),
            artifact: path.to_owned(),
            run: grading_run(self.cx.threads, config.kv_k, config.kv_v, config.repack),
            reference: (!diverged_before).then(|| self.prepared.predictions.clone()),
            prompts: grading.prompts().to_vec(),
            tasks: grading.tasks(),
        };
        let total: u64 = grading.prompts().iter().map(|p| u64::from(p.samples())).sum();
        let (number, tasks) = (trial.number(), grading.prompts().len());
        let mut generations: Vec<Generation> = Vec::new();
        // What ends the trial, or breaks the study, while its worker is at it.
        let halt: RefCell<Option<Halt>> = RefCell::new(None);
        let cancelled = || (self.cx.cancelled)() || halt.borrow().is_some();
        let mut verdicts = Verdicts::new();
        let mut rung_ended = clock.elapsed();
        // Two listeners for one stream: the divergence is made durable the moment it is there.
        let limits = Limits {
            time: Duration::from_secs(self.cx.settings.rung_timeout_s),
            memory_bytes: Some(self.cx.machine_bytes),
        };
        let outcome = self.cx.supervisor.run(&job, &limits, &cancelled, &mut |message| {
            if halt.borrow().is_some() {
                return;
            }
            match message {
                Message::Diverged { divergence, lines } => {
                    rung_ended = clock.elapsed();
                    let rows = metrics::of_divergence(&divergence, &lines);
                    let next = self
                        .diverged(trial, &divergence, rows, started, rung_ended, observer)
                        .and_then(|()| hopeless(trial)?.map_or(Ok(()), |ended| Err(Halt::Ended(ended))));
                    *halt.borrow_mut() = next.err();
                }
                Message::Generated(g) => {
                    generations.push(g);
                    let done = generations.len() as u64;
                    observer.hear(&Event::Progress { trial: number, what: "tasks".to_owned(), done, total });
                    let Some(rival) = rival.as_ref().filter(|_| generations.len().is_multiple_of(LOOK))
                    else {
                        return;
                    };
                    *halt.borrow_mut() = match grading.grade(&generations[generations.len() - LOOK..]) {
                        Err(error) => Some(Halt::Study(error)),
                        Ok(graded) => {
                            let greedy = graded.generations.iter().filter(|g| g.sample == 0);
                            verdicts.extend(greedy.filter_map(|g| Some((g.task.clone(), g.passed()?))));
                            let why = rival.beats(&verdicts, tasks);
                            why.map(|why| Halt::Ended(Ended::early(FailureKind::Lost, why)))
                        }
                    };
                }
                _ => {}
            }
        })?;
        if let Some(halt) = halt.take() {
            return Err(halt);
        }
        self.settle(number, &outcome, "grade", None, observer)?;
        if trial.rung() < Some(Rung::Diverged) {
            return Err(Halt::Ended(Ended::failed(FailureKind::Crash, "no divergence was reported")));
        }
        if generations.len() as u64 != total {
            let text = format!("{} of {total} continuations were generated", generations.len());
            return Err(Halt::Ended(Ended::failed(FailureKind::Crash, text)));
        }
        let graded = grading.grade(&generations).map_err(Halt::Study)?;
        let began = if diverged_before { Duration::ZERO } else { rung_ended };
        let mut rung = FinishedRung::new(
            Rung::Graded,
            started.checked_add(began).unwrap_or(started),
            clock.elapsed().saturating_sub(began),
        );
        rung.measurements = graded.measurements;
        rung.generations = graded.generations;
        self.finish(trial, rung, graded.summary, observer)
    }

    fn diverged(
        &self,
        trial: &mut LiveTrial,
        divergence: &Divergence,
        rows: Vec<NewMeasurement>,
        started: Timestamp,
        took: Duration,
        observer: &mut dyn Observer,
    ) -> Result<(), Halt> {
        let mut rung = FinishedRung::new(Rung::Diverged, started, took);
        rung.measurements = rows;
        let summary = format!(
            "KL {:.4}, top-1 {:.1} %",
            divergence.kl_mean.value,
            100.0 * divergence.top1_agreement.value
        );
        self.finish(trial, rung, summary, observer)
    }

    /// Runs a job with progress.
    pub(super) fn work(
        &self,
        job: &Job,
        number: u64,
        observer: &mut dyn Observer,
        each: &mut dyn FnMut(Message),
    ) -> Result<Outcome, Halt> {
        let limits =
            Limits { time: Duration::from_secs(self.cx.settings.rung_timeout_s), memory_bytes: None };
        let outcome =
            self.cx.supervisor.run(job, &limits, self.cx.cancelled, &mut |message| match message {
                Message::Progress { what, done, total } => {
                    observer.hear(&Event::Progress { trial: number, what, done, total });
                }
                other => each(other),
            })?;
        Ok(outcome)
    }

    /// Turns a worker's end into the trial's.
    pub(super) fn settle(
        &self,
        number: u64,
        outcome: &Outcome,
        rung: &str,
        budget: Option<u64>,
        observer: &mut dyn Observer,
    ) -> Result<(), Halt> {
        if let Some(warning) = &outcome.warning {
            observer.hear(&Event::Remark { text: format!("trial {number}: {warning}") });
        }
        let ended = match &outcome.end {
            End::Done => return Ok(()),
            End::Cancelled => return Err(Halt::Study(Stopped.into())),
            End::Refused(reason) => {
                let fault = MachineFault { step: format!("{rung} trial {number}"), reason: reason.clone() };
                return Err(Halt::Study(fault.into()));
            }
            End::Failed(error) if finite::tells_of(error) => {
                let why = error.replacen(finite::NOT_A_NUMBER, "", 1);
                Ended::failed(FailureKind::NotANumber, format!("failed to {rung}: {why}"))
            }
            End::Failed(error) => Ended::failed(FailureKind::Error, format!("failed to {rung}: {error}")),
            End::Crashed(how) => Ended::failed(FailureKind::Crash, format!("failed to {rung}: {how}")),
            End::TimedOut => Ended::failed(
                FailureKind::Timeout,
                format!("failed to {rung} within {} s", self.cx.settings.rung_timeout_s),
            ),
            End::OverMemory => {
                let peak = outcome.peak_bytes.unwrap_or(0);
                let refused = budget.is_some_and(|budget| peak <= budget);
                let peak = Bytes(peak);
                match budget {
                    Some(budget) if refused => Ended::over_budget(format!(
                        "at {peak} it requested more memory than the budget of {} allows, and was refused",
                        Bytes(budget)
                    )),
                    Some(budget) => {
                        Ended::over_budget(format!("stopped at {peak}, over the budget of {}", Bytes(budget)))
                    }
                    None => Ended::failed(
                        FailureKind::Memory,
                        format!("stopped at {peak}: the machine has no more memory"),
                    ),
                }
            }
        };
        Err(Halt::Ended(ended))
    }

    fn finish(
        &self,
        trial: &mut LiveTrial,
        rung: FinishedRung,
        summary: String,
        observer: &mut dyn Observer,
    ) -> Result<(), Halt> {
        if let Some(fault) = rung.measurements.iter().find_map(NewMeasurement::fault) {
            let text = format!("a measurement is not a number: {fault}");
            return Err(Halt::Ended(Ended::failed(FailureKind::NotANumber, text)));
        }
        self.cx.store.finish_rung(trial, &rung)?;
        observer.hear(&Event::RungFinished {
            trial: trial.number(),
            rung: rung.rung,
            summary,
            seconds: rung.duration.as_secs_f64(),
        });
        Ok(())
    }

    fn note(&self, trial: &LiveTrial, kind: EventKind, json: &serde_json::Value) -> Result<(), Halt> {
        let event = autotune_store::NewEvent { kind, json: json.to_string() };
        self.cx.store.append_event(trial.record().study, &event)?;
        Ok(())
    }
}
