//! Complete trials that were timed once more: stored beside the trial, and read together with it.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::real::Real;
use super::trial::{check_numbers, signed};
use super::{Measurement, NewMeasurement, Result, Store, StoreError, StudyId, TrialId, TrialState};

/// One more timing of a complete trial.
#[derive(Clone, Debug)]
pub struct NewRepeat {
    /// When it began.
    pub started: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// What it measured; the metrics that the trial has already are pooled with it.
    pub measurements: Vec<NewMeasurement>,
    /// Why it measured nothing.
    pub failure: Option<String>,
}

impl Store {
    /// Stores one more timing of a complete trial, whole; the number of this run, the first repeat being 1.
    ///
    /// # Errors
    /// There is no such trial, it is not complete, or the database refuses.
    pub fn add_repeat(&self, study: StudyId, number: u64, repeat: &NewRepeat) -> Result<u32> {
        check_numbers(&repeat.measurements)?;
        let transaction = self.write()?;
        let trial = self.trial_of(&transaction, study, number)?;
        if trial.state != TrialState::Complete {
            return Err(StoreError::NotComplete { number, state: trial.state.name() });
        }
        let run = trial.repeats + 1;
        self.sql(write(&transaction, trial.id, run, repeat))?;
        self.sql(transaction.commit())?;
        Ok(run)
    }
}

fn write(connection: &Connection, trial: TrialId, run: u32, repeat: &NewRepeat) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT INTO repeat (trial_id, run, started_ms, duration_ms, failure) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            trial.0,
            run,
            repeat.started.as_millisecond(),
            i64::try_from(repeat.duration.as_millis()).unwrap_or(i64::MAX),
            repeat.failure
        ],
    )?;
    let id = connection.last_insert_rowid();
    let mut statement = connection.prepare_cached(
        "INSERT INTO repeat_measurement (repeat_id, metric, unit, value, low, high, samples) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for m in &repeat.measurements {
        statement.execute(params![
            id,
            m.metric,
            m.unit,
            Real(m.value),
            Real(m.low),
            Real(m.high),
            signed(m.samples)
        ])?;
    }
    Ok(())
}

/// All measurements of one quantity as one: their mean (the geometric one, where all are over zero), and a 95 % interval that knows what
/// differs between runs. Its half width is the larger of two: that of the mean if each run's own interval were all that is uncertain,
/// and 1.96 times the standard error by what the runs differ. Runs without a value do not count.
#[must_use]
pub(super) fn pooled(runs: &[Measurement]) -> Option<Measurement> {
    let first = runs.first()?;
    let known: Vec<(f64, f64, f64)> = runs
        .iter()
        .filter_map(|m| {
            let value = m.value.filter(|v| v.is_finite())?;
            Some((value, m.low.unwrap_or(value), m.high.unwrap_or(value)))
        })
        .collect();
    if known.len() < 2 {
        return Some(runs.iter().find(|m| m.value.is_some()).unwrap_or(first).clone());
    }
    let ratios = known.iter().all(|(value, low, _)| *value > 0.0 && *low > 0.0);
    let scale = |x: f64| if ratios { x.ln() } else { x };
    let back = |x: f64| if ratios { x.exp() } else { x };
    let n = known.len() as f64;
    let values: Vec<f64> = known.iter().map(|(value, ..)| scale(*value)).collect();
    let mean = values.iter().sum::<f64>() / n;
    let within = known.iter().map(|(_, low, high)| ((scale(*high) - scale(*low)) / 2.0).powi(2)).sum::<f64>();
    let between = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let half = (within.sqrt() / n).max(1.96 * (between / n).sqrt());
    Some(Measurement {
        value: Some(back(mean)),
        low: Some(back(mean - half)),
        high: Some(back(mean + half)),
        samples: runs.iter().map(|m| m.samples).sum(),
        ..first.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rung;

    fn run(value: f64, low: f64, high: f64) -> Measurement {
        Measurement {
            rung: Rung::Measured,
            unit: "ms".into(),
            value: Some(value),
            low: Some(low),
            high: Some(high),
            samples: 10,
        }
    }

    #[test]
    fn runs_that_agree_are_surer_together_and_runs_that_differ_are_not() {
        let alike = pooled(&[run(100.0, 90.0, 111.0), run(100.0, 90.0, 111.0)]).unwrap();
        assert!((alike.value.unwrap() - 100.0).abs() < 1e-9);
        assert!(alike.low.unwrap() > 92.0 && alike.high.unwrap() < 108.0, "{alike:?}");
        let apart = pooled(&[run(100.0, 99.0, 101.0), run(121.0, 120.0, 122.0)]).unwrap();
        assert!((apart.value.unwrap() - 110.0).abs() < 1e-9, "{apart:?}");
        assert!(apart.low.unwrap() < 95.0 && apart.high.unwrap() > 125.0, "{apart:?}");
        assert_eq!(apart.samples, 20);
    }

    #[test]
    fn a_run_that_failed_changes_nothing() {
        let lost = Measurement { value: None, low: None, high: None, ..run(1.0, 1.0, 1.0) };
        let first = run(100.0, 90.0, 110.0);
        assert_eq!(pooled(&[first.clone(), lost]), Some(first));
        assert_eq!(pooled(&[]), None);
    }
}
