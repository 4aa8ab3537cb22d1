//! The rows as plain data: what callers hand in (`New...`) and what they read back (`...Record`).

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::{Failure, Origin, Rung, Segment, StudyState, TrialState, WorkerIdentity};
use autotune_core::space::Candidate;

/// A study's number, as users see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct StudyId(pub i64);

/// A trial's row, unique over all studies; users see [`TrialRecord::number`] instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct TrialId(pub i64);

/// A study to be created. The JSON texts are stored as they are; SQLite refuses what is no JSON.
#[derive(Clone, Debug)]
pub struct NewStudy {
    /// The wished name; a number is appended when it is taken.
    pub name: String,
    /// The command line that began it.
    pub command: String,
    /// The resolved settings.
    pub settings_json: String,
    /// The space, with its ranges resolved for this host and model.
    pub space_json: String,
    /// Seed of everything random.
    pub seed: u64,
    /// Ceiling on the measured peak memory.
    pub budget_bytes: u64,
    /// The model, as the user named it.
    pub model_path: String,
    /// Hash of the model's content.
    pub model_hash: String,
    /// The engine's name.
    pub engine: String,
    /// A list of [`super::Objective`].
    pub objectives_json: String,
    /// The host's fingerprint.
    pub host_fingerprint: String,
    /// What the probe learnt.
    pub host_json: String,
    /// Versions of this program, the engine and what else decides results.
    pub versions_json: String,
}

/// A host on which studies ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Host {
    /// Measurements of different fingerprints never mix in one front.
    pub fingerprint: String,
    /// What the probe learnt, as JSON.
    pub json: String,
}

/// A study as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StudyRecord {
    /// The row of this segment, which trials, notes and events belong to.
    pub id: StudyId,
    /// The study's number, as users see it: that of its first segment.
    pub root: StudyId,
    /// The number of this segment, from 1.
    pub segment: u32,
    /// All segments of the study, the first one first.
    pub segments: Vec<Segment>,
    /// Its unique name.
    pub name: String,
    /// When this segment began.
    pub created: Timestamp,
    /// What it does.
    pub state: StudyState,
    /// Why it is paused or finished.
    pub reason: Option<String>,
    /// The command line that began it.
    pub command: String,
    /// The resolved settings.
    pub settings_json: String,
    /// The resolved space.
    pub space_json: String,
    /// A list of [`super::Objective`].
    pub objectives_json: String,
    /// Versions of what decides results.
    pub versions_json: String,
    /// The identity of what its numbers depend on; none where no version recorded it yet.
    pub identity_json: Option<String>,
    /// Seed of everything random.
    pub seed: u64,
    /// Ceiling on the measured peak memory.
    pub budget_bytes: u64,
    /// The model, as the user named it.
    pub model_path: String,
    /// Hash of the model's content.
    pub model_hash: String,
    /// The engine's name.
    pub engine: String,
    /// Where it runs.
    pub host: Host,
    /// How many trials there are, in each state that occurs.
    pub trials: BTreeMap<TrialState, u64>,
}

impl StudyRecord {
    /// What selects this segment: the study's number, or `number.segment` for one that is not the newest.
    #[must_use]
    pub fn selector(&self) -> String {
        match self.segments.last() {
            Some(newest) if newest.number > self.segment => format!("{}.{}", self.root.0, self.segment),
            _ => self.root.0.to_string(),
        }
    }

    /// The number of trials in any state.
    #[must_use]
    pub fn trial_count(&self) -> u64 {
        self.trials.values().sum()
    }
}

/// A candidate to be put into a study.
#[derive(Clone, Debug, PartialEq)]
pub struct NewTrial {
    /// The point of the space.
    pub candidate: Candidate,
    /// Who chose it.
    pub origin: Origin,
    /// What was predicted of it; when there is anything, the trial has reached [`Rung::Predicted`].
    pub predicted: Vec<NewMeasurement>,
}

/// What became of [`super::Store::add_trial`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It has this number now and is queued.
    New(u64),
    /// The study already has this candidate, under this number.
    Duplicate(u64),
}

/// What became of [`super::Store::ask_trial`].
#[derive(Debug)]
pub enum Asked {
    /// A new trial, claimed by the asking worker.
    New(Box<LiveTrial>),
    /// The study already has the chosen candidate, under this number.
    Duplicate(u64),
    /// The sampler had nothing to ask.
    Nothing,
}

/// A trial in the hands of a worker: the only door through which it changes.
#[derive(Debug)]
pub struct LiveTrial {
    pub(super) record: TrialRecord,
    pub(super) worker: WorkerIdentity,
}

impl LiveTrial {
    /// What is stored of the trial up to now.
    #[must_use]
    pub fn record(&self) -> &TrialRecord {
        &self.record
    }

    /// The trial's number in its study.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.record.number
    }

    /// The candidate to work on.
    #[must_use]
    pub fn candidate(&self) -> &Candidate {
        &self.record.candidate
    }

    /// The highest finished rung.
    #[must_use]
    pub fn rung(&self) -> Option<Rung> {
        self.record.rung
    }
}

/// A measured or predicted number, or none where it could not be had. Databases of earlier versions hold infinite and NaN values, too.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewMeasurement {
    /// Its name, with the unit as suffix: `request_latency_p50_ms`.
    pub metric: String,
    /// The unit: `ms`, `bytes`, `tokens/s`, `nats`, or empty for a fraction.
    pub unit: String,
    /// The value, none when it could not be had.
    pub value: Option<f64>,
    /// Lower end of the 95 % interval.
    pub low: Option<f64>,
    /// Upper end of the 95 % interval.
    pub high: Option<f64>,
    /// How many samples the value rests on.
    pub samples: u64,
    /// The samples themselves, where they are worth keeping.
    pub raw: Vec<f64>,
}

impl NewMeasurement {
    /// A single exact value.
    #[must_use]
    pub fn exact(metric: &str, unit: &str, value: f64) -> Self {
        Self {
            metric: metric.to_owned(),
            unit: unit.to_owned(),
            value: Some(value),
            samples: 1,
            ..Self::default()
        }
    }

    /// What of it is no number, in words: a value that is NaN or infinite, a bound that is NaN (an infinite one says that nothing is
    /// known), a raw sample that is NaN or infinite. None where all is well. The store takes no measurement that has a fault.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let word = |x: f64| if x.is_nan() { "NaN" } else { "infinite" };
        let bad_value = self.value.filter(|x| !x.is_finite()).map(word);
        let bad_bound = [self.low, self.high].into_iter().flatten().any(f64::is_nan);
        let bad_sample = self.raw.iter().find(|x| !x.is_finite()).map(|x| word(*x));
        match (bad_value, bad_bound, bad_sample) {
            (Some(word), _, _) => Some(format!("{} is {word}", self.metric)),
            (None, true, _) => Some(format!("the interval of {} is NaN", self.metric)),
            (None, false, Some(word)) => Some(format!("a sample of {} is {word}", self.metric)),
            (None, false, None) => None,
        }
    }

    /// A value with its interval.
    #[must_use]
    pub fn interval(metric: &str, unit: &str, value: f64, low: f64, high: f64, samples: u64) -> Self {
        Self { low: Some(low), high: Some(high), samples, ..Self::exact(metric, unit, value) }
    }
}

/// A measurement as stored, without its raw samples (see [`super::Store::raw_samples`]).
#[derive(Clone, Debug, PartialEq)]
pub struct Measurement {
    /// The rung that made it.
    pub rung: Rung,
    /// The unit.
    pub unit: String,
    /// The value.
    pub value: Option<f64>,
    /// Lower end of the interval.
    pub low: Option<f64>,
    /// Upper end of the interval.
    pub high: Option<f64>,
    /// Number of samples.
    pub samples: u64,
}

/// A graded completion to be stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewGeneration {
    /// The task's identifier.
    pub task: String,
    /// Which sample of the task, from 0.
    pub sample: u32,
    /// What the model wrote.
    pub completion: String,
    /// The verdict's name (`passed`, `wrong`, `timeout`, ..., `not_executed`).
    pub verdict: String,
    /// What went wrong, for people.
    pub detail: String,
    /// The parts of CodeBLEU, as JSON.
    pub codebleu_json: Option<String>,
}

impl NewGeneration {
    /// The verdict of an answer in a language that is not executed: graded by CodeBLEU and syntax alone.
    pub const NOT_EXECUTED: &str = "not_executed";

    /// Whether its tests passed; none where they were not run.
    #[must_use]
    pub fn passed(&self) -> Option<bool> {
        (self.verdict != Self::NOT_EXECUTED).then(|| self.verdict == "passed")
    }
}

/// A graded completion as stored: the same data.
pub type Generation = NewGeneration;

/// Whether each task was solved, by its identifier.
pub type Verdicts = std::collections::BTreeMap<String, bool>;

/// The files that an engine loads for a trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Artifact {
    /// Relative to the results folder.
    pub path: String,
    /// Size of all its files.
    pub bytes: u64,
    /// Hash of its content, by which trials that share it are known.
    pub hash: String,
    /// SHA-256 of the file when it was built; none in trials of versions that did not record it.
    pub sha256: Option<String>,
}

/// A rung that has just been finished, whole.
#[derive(Clone, Debug)]
pub struct FinishedRung {
    /// Which.
    pub rung: Rung,
    /// When its work began.
    pub started: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// What it measured.
    pub measurements: Vec<NewMeasurement>,
    /// What it graded.
    pub generations: Vec<NewGeneration>,
    /// What it built; none keeps what an earlier rung built.
    pub artifact: Option<Artifact>,
}

impl FinishedRung {
    /// A rung without results yet; fill in the fields that apply.
    #[must_use]
    pub fn new(rung: Rung, started: Timestamp, duration: Duration) -> Self {
        Self { rung, started, duration, measurements: Vec::new(), generations: Vec::new(), artifact: None }
    }
}

/// When a finished rung was worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RungRecord {
    /// Which.
    pub rung: Rung,
    /// When its work began.
    pub started: Timestamp,
    /// How long it took.
    pub duration: Duration,
}

/// A frozen copy of a trial.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialRecord {
    /// Its row.
    pub id: TrialId,
    /// Its study.
    pub study: StudyId,
    /// Its number in the study, from 1.
    pub number: u64,
    /// The point of the space.
    pub candidate: Candidate,
    /// The candidate's hash.
    pub hash: String,
    /// Who chose it.
    pub origin: Origin,
    /// What became of it.
    pub state: TrialState,
    /// The highest finished rung.
    pub rung: Option<Rung>,
    /// Why it did not complete.
    pub failure: Option<Failure>,
    /// What was built.
    pub artifact: Option<Artifact>,
    /// The trials that had not ended when this one was asked, with the rung they had reached: the ask saw these, and
    /// all lower numbers complete. With it an ask can be replayed although several workers were busy.
    pub unfinished_at_ask: Vec<(u64, Option<Rung>)>,
    /// How often a worker took it up.
    pub attempts: u64,
    /// Who has it, or had it last.
    pub worker: Option<WorkerIdentity>,
    /// When it was asked.
    pub created: Timestamp,
    /// When the last worker took it up.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// The finished rungs, in order.
    pub rungs: Vec<RungRecord>,
    /// Measurements by metric; where two rungs measured one metric, the later rung's.
    /// With repeats: all runs together.
    pub measurements: BTreeMap<String, Measurement>,
    /// How often it was re-timed, failed attempts included.
    pub repeats: u32,
}

impl TrialRecord {
    /// The value of a metric, when it was measured and could be had.
    #[must_use]
    pub fn value(&self, metric: &str) -> Option<f64> {
        self.measurements.get(metric)?.value
    }

    /// The time spent in finished rungs.
    #[must_use]
    pub fn work(&self) -> Duration {
        self.rungs.iter().map(|r| r.duration).sum()
    }
}
