//! Reading trials back, many at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::real::{Real, unpack};
use super::repeat::pooled;
use super::{
    Artifact, Failure, Generation, Measurement, Result, Rung, RungRecord, Store, StoreError, StudyId,
    TrialId, TrialRecord, Verdicts, WorkerIdentity,
};

const TRIAL: &str = "SELECT id, study_id, number, candidate, hash, origin, state, rung, failure_kind, failure_text, \
     artifact_path, artifact_bytes, artifact_hash, unfinished, attempts, worker_pid, worker_started, worker_boot, \
     created_ms, started_ms, ended_ms, artifact_sha256 FROM trial t";
const RUNG: &str =
    "SELECT r.trial_id, r.rung, r.started_ms, r.duration_ms FROM rung r JOIN trial t ON t.id = r.trial_id";
const REPEAT: &str = "SELECT r.trial_id, r.run, m.metric, m.value, m.low, m.high, m.samples FROM repeat r \
     JOIN trial t ON t.id = r.trial_id LEFT JOIN repeat_measurement m ON m.repeat_id = r.id";
const MEASUREMENT: &str = "SELECT m.trial_id, m.rung, m.metric, m.unit, m.value, m.low, m.high, m.samples \
     FROM measurement m JOIN trial t ON t.id = m.trial_id";

impl Store {
    /// All trials of a study in the order of their numbers, in one consistent view. Raw samples and generations are read apart. Only what
    /// may have changed since the last call is read.
    ///
    /// # Errors
    /// The database cannot be read, or holds something unreadable.
    pub fn trials(&self, study: StudyId) -> Result<Arc<Vec<TrialRecord>>> {
        let view = self.read()?;
        self.kept_trials(&view, study)
    }

    /// The newest trial whose artifact lies at this path (relative to the results folder) and has a recorded SHA-256: what selects its study,
    /// its number, and the SHA-256.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn recorded_artifact(&self, path: &str) -> Result<Option<(String, u64, String)>> {
        let query = "SELECT study_id, number, artifact_sha256 FROM trial \
                     WHERE artifact_path = ?1 AND artifact_sha256 IS NOT NULL ORDER BY id DESC LIMIT 1";
        let row =
            |row: &Row<'_>| Ok((StudyId(row.get(0)?), row.get::<_, i64>(1)?.cast_unsigned(), row.get(2)?));
        let found = self.sql(self.connection.query_row(query, [path], row).optional())?;
        found.map(|(id, number, sha256)| Ok((self.study_by_id(id)?.selector(), number, sha256))).transpose()
    }

    /// One trial by its number.
    ///
    /// # Errors
    /// There is none, or it is unreadable.
    pub fn trial(&self, study: StudyId, number: u64) -> Result<TrialRecord> {
        let view = self.read()?;
        self.trial_of(&view, study, number)
    }

    /// The raw samples of a metric, from the last rung that measured it; empty where none were kept.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn raw_samples(&self, trial: TrialId, metric: &str) -> Result<Vec<f64>> {
        let rung = "CASE rung WHEN 'predicted' THEN 0 WHEN 'built' THEN 1 WHEN 'measured' THEN 2 WHEN 'diverged' THEN 3 ELSE 4 END";
        let blob: Option<Option<Vec<u8>>> = self.sql(
            self.connection
                .query_row(
                    &format!(
                        "SELECT raw FROM measurement WHERE trial_id = ?1 AND metric = ?2 ORDER BY {rung} DESC LIMIT 1"
                    ),
                    params![trial.0, metric],
                    |row| row.get(0),
                )
                .optional(),
        )?;
        Ok(blob.flatten().map(|bytes| unpack(&bytes)).unwrap_or_default())
    }

    /// The graded completions of a trial, in the order in which they were stored.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn generations(&self, trial: TrialId) -> Result<Vec<Generation>> {
        let mut statement = self.sql(self.connection.prepare_cached(
            "SELECT task, sample, completion, verdict, detail, codebleu FROM generation WHERE trial_id = ?1 ORDER BY id",
        ))?;
        let rows = self.sql(statement.query_map([trial.0], |row| {
            Ok(Generation {
                task: row.get(0)?,
                sample: row.get(1)?,
                completion: row.get(2)?,
                verdict: row.get(3)?,
                detail: row.get(4)?,
                codebleu_json: row.get(5)?,
            })
        }))?;
        rows.map(|row| self.sql(row)).collect()
    }

    /// Which tasks each graded trial of a study solved with its greedy answer, by the trial's number.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn verdicts(&self, study: StudyId) -> Result<BTreeMap<u64, Verdicts>> {
        let mut statement = self.sql(self.connection.prepare_cached(
            "SELECT t.number, g.task, g.verdict = 'passed' FROM generation g JOIN trial t ON t.id = g.trial_id \
             WHERE t.study_id = ?1 AND g.sample = 0 AND g.verdict <> 'not_executed'",
        ))?;
        let mut all: BTreeMap<u64, Verdicts> = BTreeMap::new();
        let mut rows = self.sql(statement.query([study.0]))?;
        while let Some(row) = self.sql(rows.next())? {
            let (number, task, passed) = self.sql(verdict(row))?;
            all.entry(number.cast_unsigned()).or_default().insert(task, passed);
        }
        Ok(all)
    }

    pub(super) fn trial_of(&self, view: &Connection, study: StudyId, number: u64) -> Result<TrialRecord> {
        let rows =
            read(view, "WHERE t.study_id = ?1 AND t.number = ?2", &[study.0, super::trial::signed(number)]);
        self.sql(rows)?.pop().ok_or(StoreError::NoTrial { study: study.0, number })
    }

    pub(super) fn read_trial(&self, view: &Connection, id: TrialId) -> Result<TrialRecord> {
        let mut rows = self.sql(read(view, "WHERE t.id = ?1", &[id.0]))?;
        rows.pop().ok_or_else(|| StoreError::Unreadable {
            what: "trial",
            detail: format!("row {} is missing", id.0),
        })
    }
}

fn verdict(row: &Row<'_>) -> rusqlite::Result<(i64, String, bool)> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

/// The trials that a condition on `t` selects, with their rungs and measurements, by number.
pub(super) fn read(view: &Connection, condition: &str, values: &[i64]) -> rusqlite::Result<Vec<TrialRecord>> {
    let bound = || rusqlite::params_from_iter(values);
    let mut trials: Vec<TrialRecord> = view
        .prepare_cached(&format!("{TRIAL} {condition} ORDER BY t.number"))?
        .query_map(bound(), trial)?
        .collect::<rusqlite::Result<_>>()?;
    let place: BTreeMap<TrialId, usize> = trials.iter().enumerate().map(|(i, t)| (t.id, i)).collect();

    let mut statement = view.prepare_cached(&format!("{RUNG} {condition}"))?;
    let mut rows = statement.query(bound())?;
    while let Some(row) = rows.next()? {
        let record = RungRecord {
            rung: row.get(1)?,
            started: time(row, 2)?,
            duration: Duration::from_millis(row.get::<_, i64>(3)?.cast_unsigned()),
        };
        if let Some(trial) = place.get(&TrialId(row.get(0)?)).and_then(|&i| trials.get_mut(i)) {
            trial.rungs.push(record);
        }
    }
    let mut statement = view.prepare_cached(&format!("{MEASUREMENT} {condition}"))?;
    let mut rows = statement.query(bound())?;
    while let Some(row) = rows.next()? {
        let rung: Rung = row.get(1)?;
        let metric: String = row.get(2)?;
        let Some(trial) = place.get(&TrialId(row.get(0)?)).and_then(|&i| trials.get_mut(i)) else { continue };
        if trial.measurements.get(&metric).is_some_and(|earlier| earlier.rung > rung) {
            continue;
        }
        let measurement = Measurement {
            rung,
            unit: row.get(3)?,
            value: row.get::<_, Real>(4)?.0,
            low: row.get::<_, Real>(5)?.0,
            high: row.get::<_, Real>(6)?.0,
            samples: row.get::<_, i64>(7)?.cast_unsigned(),
        };
        trial.measurements.insert(metric, measurement);
    }
    for trial in &mut trials {
        trial.rungs.sort_by_key(|r| r.rung);
    }
    read_repeats(view, condition, values, &place, &mut trials)?;
    Ok(trials)
}

/// Counts the repeats of the trials, and pools what they measured.
fn read_repeats(
    view: &Connection,
    condition: &str,
    values: &[i64],
    place: &BTreeMap<TrialId, usize>,
    trials: &mut [TrialRecord],
) -> rusqlite::Result<()> {
    let mut runs: BTreeMap<(usize, String), Vec<Measurement>> = BTreeMap::new();
    let mut statement = view.prepare_cached(&format!("{REPEAT} {condition} ORDER BY r.run"))?;
    let mut rows = statement.query(rusqlite::params_from_iter(values))?;
    while let Some(row) = rows.next()? {
        let Some(&place) = place.get(&TrialId(row.get(0)?)) else { continue };
        let Some(trial) = trials.get_mut(place) else { continue };
        trial.repeats = trial.repeats.max(row.get(1)?);
        let Some(metric) = row.get::<_, Option<String>>(2)? else { continue };
        let Some(first) = trial.measurements.get(&metric) else { continue };
        let run = Measurement {
            value: row.get::<_, Real>(3)?.0,
            low: row.get::<_, Real>(4)?.0,
            high: row.get::<_, Real>(5)?.0,
            samples: row.get::<_, i64>(6)?.cast_unsigned(),
            ..first.clone()
        };
        runs.entry((place, metric)).or_insert_with(|| vec![first.clone()]).push(run);
    }
    for ((place, metric), runs) in runs {
        if let (Some(trial), Some(all)) = (trials.get_mut(place), pooled(&runs)) {
            trial.measurements.insert(metric, all);
        }
    }
    Ok(())
}

fn trial(row: &Row<'_>) -> rusqlite::Result<TrialRecord> {
    let failure = match (row.get(8)?, row.get(9)?) {
        (Some(kind), Some(text)) => Some(Failure { kind, text }),
        _ => None,
    };
    let artifact = match (row.get(10)?, row.get::<_, Option<i64>>(11)?, row.get(12)?) {
        (Some(path), Some(bytes), Some(hash)) => {
            Some(Artifact { path, bytes: bytes.cast_unsigned(), hash, sha256: row.get(21)? })
        }
        _ => None,
    };
    let worker = match (row.get(15)?, row.get::<_, Option<i64>>(16)?, row.get(17)?) {
        (Some(pid), Some(started), Some(boot_id)) => {
            Some(WorkerIdentity { pid, started_ticks: started.cast_unsigned(), boot_id })
        }
        _ => None,
    };
    Ok(TrialRecord {
        id: TrialId(row.get(0)?),
        study: StudyId(row.get(1)?),
        number: row.get::<_, i64>(2)?.cast_unsigned(),
        candidate: json(row, 3)?,
        hash: row.get(4)?,
        origin: row.get(5)?,
        state: row.get(6)?,
        rung: row.get(7)?,
        failure,
        artifact,
        unfinished_at_ask: json(row, 13)?,
        attempts: row.get::<_, i64>(14)?.cast_unsigned(),
        worker,
        created: time(row, 18)?,
        started: optional_time(row, 19)?,
        ended: optional_time(row, 20)?,
        rungs: Vec::new(),
        measurements: BTreeMap::new(),
        repeats: 0,
    })
}

/// A column of milliseconds as a time.
pub(super) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    at(column, row.get(column)?)
}

fn optional_time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    row.get::<_, Option<i64>>(column)?.map(|ms| at(column, ms)).transpose()
}

fn at(column: usize, ms: i64) -> rusqlite::Result<Timestamp> {
    Timestamp::from_millisecond(ms)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, Type::Integer, Box::new(e)))
}

fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text)
        .map_err(|e| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(e)))
}
