//! The stored trials of a study as evidence of their quality: verdicts paired with the uncompressed model's, and what was measured token
//! by token. [`autotune_quality::estimate`] does the rest.

use autotune_core::metric::names;
use std::collections::BTreeMap;

use autotune_quality::estimate::{Estimates, Evidence, Observed, Reference, Signal, Table, combined};
use autotune_store as store;
use autotune_store::{Measurement, Store, StudyId, TrialRecord, Verdicts};

/// The note that keeps the uncompressed model's verdicts where it is no trial, since it does not fit the budget: `{"task": true, ...}`.
pub const REFERENCE_NOTE: &str = "reference_verdicts";

pub use autotune_core::metric::ESTIMATED;
/// The estimated loss against the uncompressed model.
pub const ESTIMATED_LOSS: &str = names::ESTIMATED_LOSS;

/// The pass rate of greedy answers, of which single verdicts are stored.
const GREEDY: &str = names::PASS_AT_1;
/// Pass rates of sampled completions, of which the score and its interval are used.
const DRAWN: [&str; 4] = [names::PASS_AT_1_SAMPLED, names::PASS_AT_5, names::PASS_AT_10, names::PASS_AT_100];
/// The width of a 95 % interval in standard errors.
const WIDTH: f64 = 2.0 * 1.96;

const DIVERGENCE: &str = names::KL_MEAN;
const LIKELIHOOD: &str = names::CANONICAL_NLL;
const NEXT_LINE: &str = names::NEXT_LINE_EXACT;
/// The weight of the likelihood of the tasks' own solutions and of the agreement of next lines, relative to the divergence's one.
const LIKELIHOOD_WEIGHT: f64 = 0.5;
const NEXT_LINE_WEIGHT: f64 = 0.25;
/// A divergence that is infinite or beyond this one stands for a model that is broken.
const BROKEN: f64 = 20.0;
/// The number of trials from which the relation of the other readings to the divergence is estimated.
const LEAST_TRIALS: usize = 4;
/// Smaller divergences carry no information about it.
const CLEAR_DIVERGENCE: f64 = 0.01;

/// Everything that estimates rest on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// Verdicts of greedy answers, by trial number.
    pub verdicts: BTreeMap<u64, Verdicts>,
    /// The uncompressed model's, where it is no trial.
    pub apart: Verdicts,
}

impl Known {
    /// Reads the verdicts of a study.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn load(store: &Store, study: StudyId) -> store::Result<Self> {
        let apart = store.note(study, REFERENCE_NOTE)?;
        Ok(Self {
            verdicts: store.verdicts(study)?,
            apart: apart.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default(),
        })
    }

    /// The uncompressed model's verdicts, with its trial where it is one; none where it was not graded.
    #[must_use]
    pub fn reference(&self, trials: &[TrialRecord]) -> Option<(Option<u64>, &Verdicts)> {
        let graded = |number: u64| self.verdicts.get(&number).filter(|v| !v.is_empty());
        trials
            .iter()
            .filter(|t| t.origin.is_uncompressed())
            .find_map(|t| Some((Some(t.number), graded(t.number)?)))
            .or_else(|| (!self.apart.is_empty()).then_some((None, &self.apart)))
    }

    /// Estimates a metric of all trials that measured it; none for a metric that is no pass rate.
    #[must_use]
    pub fn estimates(&self, metric: &str, trials: &[TrialRecord]) -> Option<Estimates> {
        let greedy = metric == GREEDY;
        if !greedy && !DRAWN.contains(&metric) {
            return None;
        }
        let reference = self.reference(trials).filter(|_| greedy);
        let damage = damage(trials);
        let evidence: Vec<(u64, Evidence)> = trials
            .iter()
            .filter_map(|trial| {
                let measured = trial.measurements.get(metric)?;
                let value = measured.value.filter(|v| v.is_finite())?;
                let graded_reference = reference.and_then(|(number, _)| number);
                let is_reference = match graded_reference {
                    Some(number) => number == trial.number,
                    None => trial.origin.is_uncompressed(),
                };
                let observed = match greedy {
                    true => self.verdicts_of(trial.number, value, measured, reference.map(|(_, v)| v)),
                    false => score(value, measured),
                };
                Some((
                    trial.number,
                    Evidence { observed, damage: damage.get(&trial.number).copied(), is_reference },
                ))
            })
            .collect();
        let counted = reference.map(|(_, verdicts)| Reference {
            passed: verdicts.values().filter(|passed| **passed).count() as u64,
            tasks: verdicts.len() as u64,
        });
        (!evidence.is_empty()).then(|| Estimates::of(&evidence, counted))
    }

    /// Paired with the reference where both were graded on the same tasks; else as many as the pass rate says.
    fn verdicts_of(
        &self,
        number: u64,
        value: f64,
        measured: &Measurement,
        reference: Option<&Verdicts>,
    ) -> Observed {
        let own = self.verdicts.get(&number);
        if let Some((reference, own)) = reference.zip(own) {
            let table = table(reference, own);
            if table.tasks() > 0 {
                return Observed::Paired(table);
            }
        }
        let tasks = measured.samples.max(1);
        Observed::Counts { passed: (value.clamp(0.0, 1.0) * tasks as f64).round() as u64, tasks }
    }
}

/// Verdicts on the tasks of both.
#[must_use]
pub fn table(reference: &Verdicts, own: &Verdicts) -> Table {
    let mut table = Table::default();
    for (task, solved) in reference {
        match (solved, own.get(task)) {
            (true, Some(true)) => table.both += 1,
            (true, Some(false)) => table.lost += 1,
            (false, Some(true)) => table.gained += 1,
            (false, Some(false)) => table.neither += 1,
            (_, None) => {}
        }
    }
    table
}

fn score(value: f64, measured: &Measurement) -> Observed {
    let width = measured.high.zip(measured.low).map(|(high, low)| (high - low) / WIDTH);
    let samples = measured.samples.max(1) as f64;
    // Without an interval the error of as many single answers.
    let error = width.filter(|w| w.is_finite() && *w > 0.0).unwrap_or(0.5 / samples.sqrt());
    Observed::Score { value, error }
}

/// How far each trial is from the reference: its divergence, corrected by what else was measured token by token.
fn damage(trials: &[TrialRecord]) -> BTreeMap<u64, f64> {
    let divergence = |t: &TrialRecord| t.value(DIVERGENCE).filter(|kl| *kl >= 0.0).map(|kl| kl.min(BROKEN));
    // What others are held against: the reference itself, else what is next to it.
    let nearest = trials
        .iter()
        .filter(|t| t.origin.is_uncompressed())
        .chain(trials)
        .filter_map(|t| Some((!t.origin.is_uncompressed(), divergence(t)?, t)))
        .min_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.number.cmp(&b.2.number)))
        .map(|(_, _, t)| t);
    let worse = |t: &TrialRecord, metric: &str, sign: f64| {
        Some(sign * (t.value(metric)? - nearest?.value(metric)?)).filter(|w| w.is_finite())
    };
    let slope = |metric: &str, sign: f64, of: fn(f64) -> f64| {
        let mut ratios: Vec<f64> = trials
            .iter()
            .filter_map(|t| Some((worse(t, metric, sign)?, divergence(t)?)))
            .filter(|(_, kl)| *kl > CLEAR_DIVERGENCE)
            .map(|(w, kl)| w / of(kl))
            .collect();
        ratios.sort_by(f64::total_cmp);
        (ratios.len() >= LEAST_TRIALS).then(|| ratios[ratios.len() / 2]).filter(|r| *r > 0.0)
    };
    let slopes = (slope(LIKELIHOOD, 1.0, |kl| kl), slope(NEXT_LINE, -1.0, f64::sqrt));
    trials
        .iter()
        .filter_map(|t| {
            let Some(kl) = divergence(t) else {
                // Of a model that was not compared, the likelihood alone.
                let rise = worse(t, LIKELIHOOD, 1.0).filter(|w| *w > 0.0)?;
                return Some((t.number, rise.min(BROKEN)));
            };
            let samples = |metric: &str| {
                t.measurements.get(metric).map(|m| m.samples).filter(|n| *n > 0).map(|n| n as f64)
            };
            let likelihood = || {
                let (value, slope) = (worse(t, LIKELIHOOD, 1.0)?, slopes.0?);
                // The variance of a log ratio of near distributions is twice their divergence.
                let error = (2.0 * kl / samples(LIKELIHOOD)?).sqrt();
                Some(Signal { value, expected: slope * kl, error, weight: LIKELIHOOD_WEIGHT })
            };
            let next_line = || {
                let (value, slope) = (worse(t, NEXT_LINE, -1.0)?, slopes.1?);
                let error = (value.abs().max(0.05) / samples(NEXT_LINE)?).sqrt();
                Some(Signal { value, expected: slope * kl.sqrt(), error, weight: NEXT_LINE_WEIGHT })
            };
            let signals: Vec<Signal> = [likelihood(), next_line()].into_iter().flatten().collect();
            Some((t.number, combined(kl, &signals)))
        })
        .collect()
}
