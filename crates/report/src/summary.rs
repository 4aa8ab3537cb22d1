//! A study, read once and analysed: what the page, the terminal's table and the exports all work from.

use crate::metric::OfTrial as _;
use autotune_core::metric::names;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::caution::cautions;
use super::command::Commands;
use super::detail::Detail;
use super::front::objectives_or_default;
use super::gain::{Comparison, Paired};
use super::influence::Influence;
use super::judged::{Judged, estimated, write_estimates};
use super::metric::{Metric, PEAK, Reading};
use super::recommend::{Outcome, Pick, Recommendation, Title, recommend};
use super::relative::Relative;
use super::short::Shortener;
use super::{ReportError, Result};
use autotune_quality::estimate::Estimates;
use autotune_store::{Disturbed, Event, EventKind, Objective, Store, StudyId, StudyRecord, TrialRecord};
use autotune_study::estimates::Known;
use autotune_worker::recheck;
use autotune_worker::recheck::Recheck;

/// Everything that a report says, before it is laid out.
#[derive(Debug)]
pub struct Analysis {
    /// The study.
    pub study: StudyRecord,
    /// All its trials by number.
    pub trials: Arc<Vec<TrialRecord>>,
    /// The study's notes.
    pub notes: BTreeMap<String, String>,
    /// What it optimises.
    pub objectives: Vec<Objective>,
    /// The same as trials are judged by: a pass rate by its estimate, where there is one.
    pub judged: Vec<Objective>,
    /// The estimates of the pass rate among the objectives, which the trials hold next to their measurements.
    pub estimates: Option<Estimates>,
    /// The metrics of a table's columns: the objectives, the peak, and then what else was measured that people compare.
    pub columns: Vec<Metric>,
    /// The front and the recommended few.
    pub recommendation: Recommendation,
    /// Cautions next to an answer with wide intervals, as fragments of sentences.
    pub cautions: Vec<String>,
    /// Trials that were re-measured in interleaved rounds at the study's end.
    pub rechecks: Vec<Recheck>,
    /// Measurements that were affected by interference.
    pub disturbed: Vec<Disturbed>,
    /// What each trial lost and gained against the uncompressed model.
    pub relative: Relative,
    /// Short forms of candidates.
    pub shortener: Shortener,
    /// The folder of the database.
    pub results: PathBuf,
    /// The front and the presets in depth, by number.
    pub details: BTreeMap<u64, Detail>,
    /// The preset whose solutions the others' are compared with.
    pub reference: Option<u64>,
    /// Parameter importance per objective, where a model was fitted; empty otherwise.
    pub influence: Vec<Influence>,
}

/// Metrics worth a column when they were measured, behind the objectives.
const MORE_COLUMNS: [&str; 9] = [
    names::TTFT_P50_MS,
    names::PROMPT_TOKENS_PER_S,
    names::DECODE_TOKENS_PER_S,
    names::ARTIFACT_BYTES,
    names::JOULES_PER_TOKEN,
    names::BATTERY_SHARE_PER_1000_TOKENS,
    names::PASS_AT_1,
    names::KL_MEAN,
    names::CODEBLEU,
];

impl Analysis {
    /// Reads a study and analyses it.
    ///
    /// # Errors
    /// The store cannot be read, or the stored objectives are no list of objectives.
    pub fn load(store: &Store, study: StudyId) -> Result<Self> {
        let mut trials = store.trials(study)?;
        let notes = store.notes(study)?;
        let study = store.study_by_id(study)?;
        let declared: Vec<Objective> = serde_json::from_str(&study.objectives_json)
            .map_err(|source| ReportError::Objectives { study: study.name.clone(), source })?;
        let declared = declared.iter().map(|o| o.resolved(&trials)).collect();
        let objectives = objectives_or_default(declared, &trials);
        let known = Known::load(store, study.id)?;
        let estimates = write_estimates(Arc::make_mut(&mut trials).as_mut_slice(), &objectives, &known);
        let events = store.events(study.id, 0)?;
        let rechecks = told(&events, &EventKind::Rechecked);
        let paired = |a: u64, b: u64| Paired::of_verdicts(known.verdicts.get(&a)?, known.verdicts.get(&b)?);
        let judged = Judged::new(&objectives, estimates.as_ref(), &rechecks);
        let recommendation = recommend(&trials, &objectives, &judged, study.budget_bytes, &paired);
        let judged = judged.objectives;
        let cautions = cautions(&trials, &objectives, &recommendation, &paired);
        let disturbed = told(&events, &EventKind::Disturbed);
        let columns = columns(&objectives, &trials);
        let shortener = Shortener::new(&trials);
        let relative = Relative::of(&known, &trials);
        let results = store.path().parent().map(PathBuf::from).unwrap_or_default();
        let influence = super::moved::influence(&notes);
        let (details, reference) = (BTreeMap::new(), None);
        Ok(Self {
            study,
            trials,
            notes,
            objectives,
            judged,
            estimates,
            columns,
            recommendation,
            cautions,
            rechecks,
            disturbed,
            relative,
            shortener,
            results,
            details,
            reference,
            influence,
        })
    }

    /// As [`Analysis::load`], with raw samples, generations and layers of the front and the presets, for the page.
    ///
    /// # Errors
    /// As [`Analysis::load`].
    pub fn load_in_depth(store: &Store, study: StudyId) -> Result<Self> {
        let mut analysis = Self::load(store, study)?;
        analysis.load_details(store)?;
        Ok(analysis)
    }

    /// A trial by its number.
    #[must_use]
    pub fn trial(&self, number: u64) -> Option<&TrialRecord> {
        let place = self.trials.binary_search_by_key(&number, |t| t.number).ok()?;
        self.trials.get(place)
    }

    /// The titles that a trial holds.
    #[must_use]
    pub fn titles(&self, number: u64) -> &[Title] {
        self.recommendation.picks.iter().find(|p| p.number == number).map_or(&[], |p| &p.titles)
    }

    /// The preset's name, or the candidate in a few words.
    #[must_use]
    pub fn name(&self, trial: &TrialRecord) -> String {
        match trial.origin.preset_name() {
            Some(preset) => preset.to_owned(),
            None => self.shortener.short(&trial.candidate),
        }
    }

    /// The commands of a trial.
    #[must_use]
    pub fn commands(&self, trial: &TrialRecord) -> Commands {
        Commands::new(&self.study, trial, &self.results)
    }

    /// What measuring again in turns says of a recommended trial and the preset that it stands beside; none where too few rounds were
    /// measured.
    #[must_use]
    pub fn recheck(&self, pick: &Pick) -> Option<String> {
        pick.comparisons().find_map(|beside| {
            recheck::compare(&self.rechecks, pick.number, beside.number)?.sentence(&beside.preset)
        })
    }

    /// What to print at the end of a search.
    #[must_use]
    pub fn summary(&self) -> FrontSummary {
        let front = self
            .recommendation
            .front
            .iter()
            .filter_map(|&number| {
                let trial = self.trial(number)?;
                Some(FrontRow {
                    number,
                    preset: trial.origin.preset_name().map(str::to_owned),
                    configuration: self.shortener.short(&trial.candidate),
                    titles: self.titles(number).to_vec(),
                    beside_reference: (!self.relative.is_empty()).then(|| self.relative.cell(number)),
                    values: self
                        .columns
                        .iter()
                        .map(|metric| Cell::new(metric, Reading::of(trial, &metric.name)))
                        .collect(),
                })
            })
            .collect();
        let picks = self
            .recommendation
            .picks
            .iter()
            .filter_map(|pick| {
                let trial = self.trial(pick.number)?;
                Some(PickRow {
                    titles: pick.titles.clone(),
                    number: pick.number,
                    name: self.name(trial),
                    gain: pick.comparison.as_ref().map(Comparison::sentence),
                    comparison: pick.comparison.clone(),
                    usual: pick.usual.clone(),
                    recheck: self.recheck(pick),
                    commands: self.commands(trial),
                })
            })
            .collect();
        FrontSummary {
            study: self.study.name.clone(),
            budget_bytes: self.study.budget_bytes,
            trials: self.trials.len() as u64,
            outcome: self.recommendation.outcome.clone(),
            floor: self.recommendation.floor.clone(),
            cautions: self.cautions.clone(),
            columns: self.columns.iter().map(|m| m.short.clone()).collect(),
            front,
            picks,
        }
    }
}

/// Events of one kind; what cannot be read is left out.
fn told<T: DeserializeOwned>(events: &[Event], kind: &EventKind) -> Vec<T> {
    events.iter().filter(|e| e.kind == *kind).filter_map(|e| serde_json::from_str(&e.json).ok()).collect()
}

fn columns(objectives: &[Objective], trials: &[TrialRecord]) -> Vec<Metric> {
    let measured = |name: &str| trials.iter().any(|t| Reading::of(t, name).is_some());
    let estimates: Vec<String> = objectives.iter().map(|o| estimated(&o.metric)).collect();
    let mut names: Vec<&str> = Vec::new();
    for (objective, estimate) in objectives.iter().zip(&estimates) {
        names.push(&objective.metric);
        names.extend(measured(estimate).then_some(estimate.as_str()));
    }
    for name in std::iter::once(PEAK).chain(MORE_COLUMNS) {
        if !names.contains(&name) && measured(name) {
            names.push(name);
        }
    }
    names.into_iter().map(Metric::of).collect()
}

/// The front in a form for terminals and JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FrontSummary {
    /// The study's name.
    pub study: String,
    /// Ceiling on the measured peak.
    pub budget_bytes: u64,
    /// How many trials there are.
    pub trials: u64,
    /// The outcome of the study.
    pub outcome: Outcome,
    /// What the picks had to meet.
    pub floor: Option<String>,
    /// Cautions next to an answer with wide intervals.
    pub cautions: Vec<String>,
    /// The heads of the values.
    pub columns: Vec<String>,
    /// The front, in the order of the first objective.
    pub front: Vec<FrontRow>,
    /// The recommended few.
    pub picks: Vec<PickRow>,
}

/// One trial of the front.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FrontRow {
    /// The trial's number.
    pub number: u64,
    /// The preset's name, when it is one.
    pub preset: Option<String>,
    /// The candidate in a few words.
    pub configuration: String,
    /// What it is recommended for.
    pub titles: Vec<Title>,
    /// Tasks lost and gained against the uncompressed model, where that was graded.
    pub beside_reference: Option<String>,
    /// A value for each column.
    pub values: Vec<Cell>,
}

/// A value in a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cell {
    /// The metric.
    pub metric: String,
    /// The value in the metric's unit.
    pub value: Option<f64>,
    /// Lower end of the interval.
    pub low: Option<f64>,
    /// Upper end of the interval.
    pub high: Option<f64>,
    /// For people.
    pub text: String,
}

impl Cell {
    fn new(metric: &Metric, reading: Option<Reading>) -> Self {
        Self {
            metric: metric.name.clone(),
            value: reading.map(|r| r.value),
            low: reading.and_then(|r| r.low),
            high: reading.and_then(|r| r.high),
            text: reading.map_or_else(|| "–".to_owned(), |r| metric.show(r.value)),
        }
    }
}

/// One recommended trial.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PickRow {
    /// What for.
    pub titles: Vec<Title>,
    /// The trial's number.
    pub number: u64,
    /// The preset's name, or the candidate in a few words.
    pub name: String,
    /// What it gains over the nearest preset, in a sentence.
    pub gain: Option<String>,
    /// The same, in parts.
    pub comparison: Option<Comparison>,
    /// What it gains over the preset that most people take, where that is not the nearest.
    pub usual: Option<Comparison>,
    /// What measuring both again, in turns, says of their latency.
    pub recheck: Option<String>,
    /// How to get and run it.
    pub commands: Commands,
}
