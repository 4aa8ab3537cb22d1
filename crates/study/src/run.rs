//! The study's loop: resume unfinished trials, else ask for a candidate, then run its stages; until there is a reason to stop.

use std::time::{Duration, Instant};

use super::context::StudyContext;
use super::early::Early;
use super::estimates::Known;
use super::event::{Event, Observer};
use super::grading::Grading;
use super::learn::Correction;
use super::lessons::{self, Lesson};
use super::prepare::Prepared;
use super::problem::StudyProblem;
use super::trial::Climb;
use super::{Stopped, metrics, presets, sweep};
use autotune_core::space::{Candidate, Config};
use autotune_core::stats::median;
use autotune_core::units::Bytes;
use autotune_search as search;
use autotune_search::{Ask, Problem, Sampler};
use autotune_store::{
    Asked, EndState, Failure, FailureKind, LiveTrial, NewTrial, Origin, Store, TrialRecord, TrialState,
    WorkerIdentity,
};

/// How a study ended, for now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StudyEnd {
    /// Nothing more to do, with the reason.
    Finished(String),
    /// A limit or the user; a resume goes on.
    Paused(String),
}

/// What the loop does next.
enum Next {
    /// Takes this trial up the rungs.
    Trial(Box<LiveTrial>),
    /// Re-times this trial.
    Again(u64),
    /// Ends, for this reason.
    End(String),
}

/// What to do next, before anything is stored.
enum Decision {
    New(Box<NewTrial>),
    Again(u64),
    End(String),
}

/// A budget that nothing can meet.
#[derive(Clone, Debug, thiserror::Error)]
#[error(
    "nothing fits the budget of {}: the smallest candidate of the space would need {} ({candidate}), the smallest preset {} ({preset}); \
     raise --budget, or choose a smaller model or another --space",
    Bytes(*budget_bytes), Bytes(*candidate_bytes), Bytes(*preset_bytes)
)]
pub struct Unmet {
    /// The budget.
    pub budget_bytes: u64,
    /// Predicted peak of the smallest candidate.
    pub candidate_bytes: u64,
    /// That candidate.
    pub candidate: String,
    /// Predicted peak of the smallest preset.
    pub preset_bytes: u64,
    /// That preset.
    pub preset: String,
}

/// A study with all that it runs on.
pub struct Study<'a> {
    /// The study's surroundings.
    pub cx: StudyContext<'a>,
    /// What was prepared.
    pub prepared: &'a Prepared,
    /// What the sampler sees of it.
    pub problem: &'a StudyProblem<'a>,
    /// Bytes that artifacts may take on the disk.
    pub artifact_bytes: u64,
}

impl Study<'_> {
    /// Runs until there is a reason to stop; the time allowed counts from `begun`. `after` is called after every trial, when its results are durable (to write the report).
    ///
    /// # Errors
    /// The database, the disk, or the judge broke. What was finished is durable.
    pub fn run(
        &self,
        begun: Instant,
        grading: &mut dyn Grading,
        observer: &mut dyn Observer,
        after: &mut dyn FnMut(&Store) -> anyhow::Result<()>,
    ) -> anyhow::Result<StudyEnd> {
        let worker = WorkerIdentity::current();
        let problem = self.problem;
        let presets = self.presets();
        let mut sampler = self.cx.settings.sampler.sampler();
        let mut lessons = lessons::learn(problem.space, &self.cx.store.trials(self.cx.id)?);
        loop {
            if (self.cx.cancelled)() {
                return Ok(StudyEnd::Paused("stopped by the user".to_owned()));
            }
            if let Some(limit) = self.cx.settings.time_s.map(Duration::from_secs)
                && begun.elapsed() >= limit - super::confirm::reserve(limit)
            {
                let limit = humantime::format_duration(limit);
                return Ok(StudyEnd::Paused(format!("the time limit of {limit} is reached")));
            }
            let next = match self.cx.store.claim_next_unfinished(self.cx.id, &worker)? {
                Some(trial) => Next::Trial(Box::new(trial)),
                None => self.ask(problem, &presets, sampler.as_mut(), &worker)?,
            };
            let done = match next {
                Next::Trial(trial) => self.one(*trial, problem, grading, observer).map(|_| ()),
                Next::Again(number) => self.repeat(number, observer),
                Next::End(reason) => return Ok(StudyEnd::Finished(reason)),
            };
            match done {
                Ok(()) => {}
                Err(error) if error.is::<Stopped>() => {
                    after(self.cx.store)?;
                    return Ok(StudyEnd::Paused("stopped by the user".to_owned()));
                }
                Err(error) => return Err(error),
            }
            after(self.cx.store)?;
            self.clean(problem)?;
            if self.has_learnt(&mut lessons, observer)? {
                // A sampler may have kept a list of what fits, which is shorter now.
                sampler = self.cx.settings.sampler.sampler();
            }
        }
    }

    /// Whether the last trial showed that a level does not work, or that it is another one; reports the change.
    fn has_learnt(&self, lessons: &mut Vec<Lesson>, observer: &mut dyn Observer) -> anyhow::Result<bool> {
        let now = lessons::learn(self.problem.space, &self.cx.store.trials(self.cx.id)?);
        let same = |a: &Lesson, b: &Lesson| (a.param, a.level) == (b.param, b.level);
        for lesson in now.iter().filter(|new| !lessons.iter().any(|old| same(new, old))) {
            observer.hear(&Event::Remark { text: format!("space: {lesson}") });
        }
        let changed =
            now.len() != lessons.len() || now.iter().zip(&*lessons).any(|(new, old)| !same(new, old));
        *lessons = now;
        Ok(changed)
    }

    /// The presets of this study, that of the space's tier first: all of them, or, when few trials are allowed, the most used for up to half
    /// of the trials.
    fn presets(&self) -> Vec<(String, Candidate)> {
        let (workload, threads) = (&self.cx.settings.workload, self.problem.ceilings.threads);
        let (longest, device) = (self.cx.kit.facts().context_max, self.problem.device_layers);
        let tier =
            presets::of_tier(self.cx.kit.presets(), &self.problem.space.name, workload, threads, longest);
        let mut all: Vec<_> =
            tier.into_iter().chain(presets::candidates(self.cx.kit, workload, threads, device)).collect();
        all.truncate(most_presets(self.cx.settings.trials));
        all
    }

    /// What to do next; a trial is stored and claimed.
    fn ask(
        &self,
        problem: &StudyProblem<'_>,
        presets: &[(String, Candidate)],
        sampler: &mut dyn Sampler,
        worker: &WorkerIdentity,
    ) -> anyhow::Result<Next> {
        let mut other = Next::End(String::new());
        // Of a trial that another process ends meanwhile the pass rate is known all the same.
        let known = Known::load(self.cx.store, self.cx.id)?;
        let asked = self.cx.store.ask_trial(self.cx.id, worker, |trials| {
            match self.decide(problem, presets, sampler, trials, &known) {
                Decision::New(new) => Some(*new),
                Decision::Again(number) => {
                    other = Next::Again(number);
                    None
                }
                Decision::End(why) => {
                    other = Next::End(why);
                    None
                }
            }
        })?;
        match asked {
            Asked::New(trial) => Ok(Next::Trial(trial)),
            Asked::Nothing => Ok(other),
            Asked::Duplicate(number) => {
                anyhow::bail!(
                    "the sampler requested trial {number} twice; please report this with the study's database"
                )
            }
        }
    }

    fn decide(
        &self,
        problem: &StudyProblem<'_>,
        presets: &[(String, Candidate)],
        sampler: &mut dyn Sampler,
        trials: &[TrialRecord],
        known: &Known,
    ) -> Decision {
        let number = trials.len() as u64 + 1;
        let new = |candidate, origin| Decision::New(Box::new(new_trial(problem, candidate, origin, trials)));
        let tried = |candidate: &Candidate| trials.iter().any(|t| t.candidate == *candidate);
        if let Some((name, candidate)) = presets.iter().find(|(_, c)| !tried(c)) {
            return new(candidate.clone(), Origin::preset(name));
        }
        // What cannot fit was never run: it does not count against the requested trials.
        let run =
            trials.iter().filter(|t| !(t.state == TrialState::Infeasible && t.artifact.is_none())).count();
        if let Some(most) = self.cx.settings.trials
            && run as u64 >= most
        {
            return Decision::End(format!("all {most} trials are done"));
        }
        let problem = &problem.knowing(trials);
        let history = self.with_artifacts(problem.history(trials, known), trials);
        let minutes = minutes(trials);
        if let Some(stop) =
            search::should_stop(problem, &history, sampler, self.cx.settings.seed, number, minutes)
        {
            return Decision::End(stop.to_string());
        }
        let clock = std::time::Instant::now();
        let asked = sampler.ask(problem, &history, self.cx.settings.seed, number);
        let (sampler_name, seconds) = (sampler.kind().name(), clock.elapsed().as_secs_f64());
        tracing::debug!(sampler = sampler_name, trial = number, trials = trials.len(), seconds, answer = ?asked, "sampler asked");
        match asked {
            Ask::Point(point) => match problem.space.candidate(&point) {
                Some(candidate) => new(candidate, Origin::sampler(sampler.kind().name())),
                None => Decision::End(format!("the sampler requested a point outside the space: {point:?}")),
            },
            Ask::Again(number) => Decision::Again(number),
            Ask::Exhausted => {
                Decision::End("every candidate of the space that fits the budget was tried".to_owned())
            }
        }
    }

    /// Evaluates a candidate that another program chose, as a trial of this study; one that was tried before is answered from the store.
    ///
    /// # Errors
    /// As for [`Study::run`]; [`Stopped`] when the user stopped it.
    pub fn evaluate(
        &self,
        candidate: &Candidate,
        grading: &mut dyn Grading,
        observer: &mut dyn Observer,
    ) -> anyhow::Result<TrialRecord> {
        let worker = WorkerIdentity::current();
        let new = |trials: &[TrialRecord]| {
            Some(new_trial(self.problem, candidate.clone(), Origin::sampler("evaluate"), trials))
        };
        let trial = match self.cx.store.ask_trial(self.cx.id, &worker, new)? {
            Asked::New(trial) => *trial,
            Asked::Duplicate(number) => match self.cx.store.claim(self.cx.id, number, &worker)? {
                Some(trial) => trial,
                None => return Ok(self.cx.store.trial(self.cx.id, number)?),
            },
            Asked::Nothing => anyhow::bail!("the candidate was not stored"),
        };
        let ended = self.one(trial, self.problem, grading, observer)?;
        self.clean(self.problem)?;
        Ok(ended)
    }

    fn one(
        &self,
        trial: LiveTrial,
        problem: &StudyProblem<'_>,
        grading: &mut dyn Grading,
        observer: &mut dyn Observer,
    ) -> anyhow::Result<TrialRecord> {
        let clock = Instant::now();
        observer.hear(&Event::TrialStarted {
            trial: trial.number(),
            origin: trial.record().origin.to_string(),
            candidate: describe(trial.candidate()),
        });
        let ended = self.climb(trial, problem, grading, observer)?;
        observer.hear(&Event::TrialEnded {
            trial: ended.number,
            state: ended.state,
            reason: ended.failure.as_ref().map(|f| f.text.clone()),
            seconds: clock.elapsed().as_secs_f64(),
        });
        Ok(ended)
    }

    fn climb(
        &self,
        trial: LiveTrial,
        problem: &StudyProblem<'_>,
        grading: &mut dyn Grading,
        observer: &mut dyn Observer,
    ) -> anyhow::Result<TrialRecord> {
        let end = |trial, state, kind: FailureKind, text: String| {
            let failure = Failure { kind, text };
            Ok(self.cx.store.end_trial(trial, state, Some(&failure))?)
        };
        let config = match Config::from_candidate(trial.candidate()) {
            Ok(config) => config,
            Err(error) => return end(trial, EndState::Failed, FailureKind::Error, error.to_string()),
        };
        match problem.foresee(&config) {
            None => {
                return end(
                    trial,
                    EndState::Failed,
                    FailureKind::Error,
                    "its sizes could not be predicted".to_owned(),
                );
            }
            Some(foreseen) if foreseen.peak_bytes > self.cx.settings.budget_bytes => {
                let text = format!(
                    "its predicted peak of {} is over the budget of {}; it was not built",
                    Bytes(foreseen.peak_bytes),
                    Bytes(self.cx.settings.budget_bytes)
                );
                return end(trial, EndState::Infeasible, FailureKind::OverBudget, text);
            }
            Some(_) => {}
        }
        self.climber(problem).run(trial, &config, grading, observer)
    }

    /// Runs a trial's stages.
    pub(super) fn climber<'b>(&'b self, problem: &'b StudyProblem<'b>) -> Climb<'b> {
        Climb { cx: self.cx, prepared: self.prepared, early: Early { store: self.cx.store, problem } }
    }

    /// Frees disk space, sparing the front.
    fn clean(&self, problem: &StudyProblem<'_>) -> anyhow::Result<()> {
        let trials = self.cx.store.trials(self.cx.id)?;
        let history = problem.history(&trials, &Known::load(self.cx.store, self.cx.id)?);
        let complete = history.measured(problem);
        let estimates: Vec<Vec<search::Estimate>> =
            complete.iter().map(|(o, _)| o.objectives.iter().copied().flatten().collect()).collect();
        let front: Vec<u64> = search::pareto_front_with_intervals(problem.objectives(), &estimates)
            .into_iter()
            .map(|i| complete[i].0.number)
            .collect();
        sweep(self.cx.results, &trials, &front, self.artifact_bytes);
        Ok(())
    }
}

/// How many presets are tried at most: half of the trials allowed, rounded up, but one.
fn most_presets(trials: Option<u64>) -> usize {
    let half = trials.map(|trials| usize::try_from(trials.div_ceil(2)).unwrap_or(usize::MAX));
    half.map_or(usize::MAX, |half| half.max(1))
}

/// A trial of a candidate, with what is predicted of it.
fn new_trial(
    problem: &StudyProblem<'_>,
    candidate: Candidate,
    origin: Origin,
    trials: &[TrialRecord],
) -> NewTrial {
    let correction = Correction::learn(problem, trials);
    let predict = |config: Config| {
        let foreseen = problem.foresee(&config)?;
        let corrected = foreseen.latency_ms * correction.factor(problem, &config);
        Some(metrics::of_prediction(foreseen.peak_bytes, foreseen.latency_ms, corrected))
    };
    let mut predicted = Config::from_candidate(&candidate).ok().and_then(predict).unwrap_or_default();
    predicted.retain(|row| row.fault().is_none());
    NewTrial { candidate, origin, predicted }
}

/// The median duration of the complete trials.
fn minutes(trials: &[TrialRecord]) -> Option<f64> {
    let complete = trials.iter().filter(|t| t.state == TrialState::Complete);
    let taken: Vec<f64> = complete.map(|t| t.work().as_secs_f64() / 60.0).collect();
    (!taken.is_empty()).then(|| median(&taken))
}

/// Says when nothing can fit the budget, naming the smallest thing that would; from predictions alone.
///
/// # Errors
/// [`Unmet`].
pub fn check_budget(problem: &StudyProblem<'_>) -> Result<(), Unmet> {
    let presets =
        presets::candidates(problem.kit, &problem.workload, problem.ceilings.threads, problem.device_layers);
    let smallest_preset = presets
        .iter()
        .filter_map(|(name, c)| {
            let config = Config::from_candidate(c).ok()?;
            Some((problem.foresee(&config)?.peak_bytes, name.clone()))
        })
        .min();
    let (Some((preset_bytes, preset)), Some((point, candidate_bytes))) =
        (smallest_preset, problem.smallest())
    else {
        return Ok(());
    };
    let budget_bytes = problem.budget_bytes;
    if preset_bytes <= budget_bytes || candidate_bytes <= budget_bytes {
        return Ok(());
    }
    let candidate = problem.space.candidate(&point).map(|c| describe(&c)).unwrap_or_default();
    Err(Unmet { budget_bytes, candidate_bytes, candidate, preset_bytes, preset })
}

/// A candidate in short: the preset's name, or the parameters that matter.
#[must_use]
pub fn describe(candidate: &Candidate) -> String {
    use autotune_core::space::Value;
    let text = |name: &str| candidate.get(name).map(Value::to_string);
    let mut parts = Vec::new();
    if let Some(preset) = text("weights.preset") {
        parts.push(preset);
    }
    for (name, value) in &candidate.0 {
        let short = name.strip_prefix("weights.").unwrap_or(name);
        match (name.as_str(), value) {
            ("weights.preset" | "context", _) => {}
            ("kv.k" | "kv.v", Value::Text(t)) if t == "f16" => {}
            ("prune.drop_layers", Value::Int(0)) => {}
            ("prune.drop_layers", Value::Int(n)) => parts.push(format!("-{n} layers")),
            ("prune.keep_ffn" | "prune.keep_kv_heads", v) if v.as_f64() == Some(1.0) => {}
            ("prune.keep_ffn", v) => parts.push(format!("ffn {v}")),
            ("prune.keep_kv_heads", v) => parts.push(format!("heads {v}")),
            ("gpu_layers", Value::Int(0)) => {}
            ("gpu_layers", v) => parts.push(format!("g{v}")),
            ("repack", Value::Bool(true)) | ("weights.tie", Value::Bool(false)) => {}
            ("weights.tie", _) => parts.push("tied".to_owned()),
            ("repack", _) => parts.push("no repack".to_owned()),
            ("batch", v) => parts.push(format!("b{v}")),
            ("threads", v) => parts.push(format!("t{v}")),
            ("ubatch", v) => parts.push(format!("u{v}")),
            (_, v) => parts.push(format!("{short} {v}")),
        }
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_take_half_of_the_trials_at_most() {
        let most = [0, 1, 2, 3, 4, 5, 16].map(|trials| most_presets(Some(trials)));
        assert_eq!(most, [1, 1, 1, 2, 2, 3, 8]);
        assert_eq!(most_presets(None), usize::MAX);
    }
}
