//! Trials as they change: asked, claimed, taken up the rungs, ended.

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::real::{Real, pack};
use super::{
    Added, Artifact, Asked, EndState, Failure, FinishedRung, LiveTrial, NewMeasurement, NewTrial, Result,
    Rung, Store, StoreError, StudyId, TrialId, TrialRecord, TrialState, WorkerIdentity,
};

impl Store {
    /// Puts a candidate into the queue of a study.
    ///
    /// # Errors
    /// There is no such study, or the database refuses.
    pub fn add_trial(&self, study: StudyId, new: &NewTrial) -> Result<Added> {
        check_numbers(&new.predicted)?;
        let transaction = self.write()?;
        if let Some(number) = self.sql(number_of(&transaction, study, new))? {
            return Ok(Added::Duplicate(number));
        }
        let id = self.sql(insert(&transaction, study, new, self.now_ms()))?;
        let number = self.sql(transaction.query_row(
            "SELECT number FROM trial WHERE id = ?1",
            [id.0],
            |row| row.get::<_, i64>(0),
        ))?;
        self.sql(transaction.commit())?;
        Ok(Added::New(number.cast_unsigned()))
    }

    /// Lets `decide` choose the next candidate from all trials of the study, and stores and claims it, in one transaction: no other
    /// process asks in between, so that two never ask the same. `decide` must not use the database.
    ///
    /// # Errors
    /// There is no such study, or the database refuses.
    pub fn ask_trial(
        &self,
        study: StudyId,
        worker: &WorkerIdentity,
        decide: impl FnOnce(&[TrialRecord]) -> Option<NewTrial>,
    ) -> Result<Asked> {
        let transaction = self.write()?;
        let trials = self.kept_trials(&transaction, study)?;
        let Some(new) = decide(&trials) else { return Ok(Asked::Nothing) };
        check_numbers(&new.predicted)?;
        if let Some(number) = self.sql(number_of(&transaction, study, &new))? {
            return Ok(Asked::Duplicate(number));
        }
        let id = self.sql(insert(&transaction, study, &new, self.now_ms()))?;
        self.sql(take(&transaction, id, worker, self.now_ms()))?;
        let record = self.read_trial(&transaction, id)?;
        self.sql(transaction.commit())?;
        Ok(Asked::New(Box::new(LiveTrial { record, worker: worker.clone() })))
    }

    /// Takes up one trial, when it is queued, or running under a worker that is dead (or is this very worker). None when it has
    /// ended or a living worker has it.
    ///
    /// # Errors
    /// There is no such trial, or the database refuses.
    pub fn claim(&self, study: StudyId, number: u64, worker: &WorkerIdentity) -> Result<Option<LiveTrial>> {
        let transaction = self.write()?;
        let id = transaction
            .query_row(
                "SELECT id FROM trial WHERE study_id = ?1 AND number = ?2",
                params![study.0, signed(number)],
                |row| row.get(0),
            )
            .optional();
        let id = TrialId(self.sql(id)?.ok_or(StoreError::NoTrial { study: study.0, number })?);
        let record = self.read_trial(&transaction, id)?;
        if record.state.is_ended() || held_by_another(&record, worker) {
            return Ok(None);
        }
        self.claimed(transaction, id, worker).map(Some)
    }

    /// Takes up the lowest-numbered trial that is queued, or running under a dead worker.
    ///
    /// # Errors
    /// The database refuses.
    pub fn claim_next_unfinished(
        &self,
        study: StudyId,
        worker: &WorkerIdentity,
    ) -> Result<Option<LiveTrial>> {
        let transaction = self.write()?;
        let open = |connection: &Connection| -> rusqlite::Result<Vec<i64>> {
            let mut statement = connection.prepare_cached(
                "SELECT id FROM trial WHERE study_id = ?1 AND state IN ('queued', 'running') ORDER BY number",
            )?;
            statement.query_map([study.0], |row| row.get(0))?.collect()
        };
        for id in self.sql(open(&transaction))?.into_iter().map(TrialId) {
            let record = self.read_trial(&transaction, id)?;
            // A trial that this worker itself has is in work in another thread.
            let own = record.state == TrialState::Running && record.worker.as_ref() == Some(worker);
            if !own && !held_by_another(&record, worker) {
                return self.claimed(transaction, id, worker).map(Some);
            }
        }
        Ok(None)
    }

    /// Gives a trial back to the queue, with the rungs that it finished: a pause.
    ///
    /// # Errors
    /// Another worker has it by now, or the database refuses.
    pub fn release(&self, trial: LiveTrial) -> Result<()> {
        let transaction = self.write()?;
        self.still_ours(&transaction, &trial)?;
        self.sql(transaction.execute(
            "UPDATE trial SET state = 'queued', worker_pid = NULL, worker_started = NULL, worker_boot = NULL WHERE id = ?1",
            [trial.record.id.0],
        ))?;
        self.sql(transaction.commit())
    }

    /// Stores a finished rung, whole, and durably before it returns. A failure leaves the trial as it was.
    ///
    /// # Errors
    /// The rung is not above the one reached, another worker has the trial by now, or the database refuses.
    pub fn finish_rung(&self, trial: &mut LiveTrial, finished: &FinishedRung) -> Result<()> {
        if let Some(reached) = trial.record.rung.filter(|reached| *reached >= finished.rung) {
            return Err(StoreError::RungOrder {
                number: trial.record.number,
                found: finished.rung.name(),
                reached: reached.name(),
            });
        }
        check_numbers(&finished.measurements)?;
        let transaction = self.write()?;
        self.still_ours(&transaction, trial)?;
        self.sql(write_rung(&transaction, trial.record.id, finished))?;
        let record = self.read_trial(&transaction, trial.record.id)?;
        self.sql(transaction.commit())?;
        trial.record = record;
        Ok(())
    }

    /// Ends a trial; it can never be changed again.
    ///
    /// # Errors
    /// Another worker has the trial by now, or the database refuses.
    pub fn end_trial(
        &self,
        trial: LiveTrial,
        end: EndState,
        failure: Option<&Failure>,
    ) -> Result<TrialRecord> {
        let transaction = self.write()?;
        self.still_ours(&transaction, &trial)?;
        self.sql(transaction.execute(
            "UPDATE trial SET state = ?2, failure_kind = ?3, failure_text = ?4, ended_ms = ?5 WHERE id = ?1",
            params![
                trial.record.id.0,
                end,
                failure.map(|f| &f.kind),
                failure.map(|f| &f.text),
                self.now_ms()
            ],
        ))?;
        let record = self.read_trial(&transaction, trial.record.id)?;
        self.sql(transaction.commit())?;
        Ok(record)
    }

    fn claimed(
        &self,
        transaction: Transaction<'_>,
        id: TrialId,
        worker: &WorkerIdentity,
    ) -> Result<LiveTrial> {
        self.sql(take(&transaction, id, worker, self.now_ms()))?;
        let record = self.read_trial(&transaction, id)?;
        self.sql(transaction.commit())?;
        Ok(LiveTrial { record, worker: worker.clone() })
    }

    /// Refuses to write for a worker that was taken for dead (a laptop that slept, say) and lost its trial.
    fn still_ours(&self, connection: &Connection, trial: &LiveTrial) -> Result<()> {
        let now = self.read_trial(connection, trial.record.id)?;
        if now.state.is_ended() {
            return Err(StoreError::Ended(now.number));
        }
        let same = now.worker.as_ref() == Some(&trial.worker) && now.attempts == trial.record.attempts;
        if same { Ok(()) } else { Err(StoreError::Lost(now.number)) }
    }
}

/// The one door of measurements: what is NaN or infinite is no result.
pub(super) fn check_numbers(measurements: &[NewMeasurement]) -> Result<()> {
    match measurements.iter().find_map(NewMeasurement::fault) {
        Some(fault) => Err(StoreError::NotANumber(fault)),
        None => Ok(()),
    }
}

fn held_by_another(record: &TrialRecord, worker: &WorkerIdentity) -> bool {
    record.state == TrialState::Running
        && record.worker.as_ref().is_some_and(|holder| holder != worker && holder.is_alive())
}

/// SQLite has no unsigned numbers; a count beyond its range is as good as its largest.
pub(super) fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn number_of(connection: &Connection, study: StudyId, new: &NewTrial) -> rusqlite::Result<Option<u64>> {
    connection
        .query_row(
            "SELECT number FROM trial WHERE study_id = ?1 AND hash = ?2",
            params![study.0, new.candidate.hash()],
            |row| row.get::<_, i64>(0),
        )
        .optional()
        .map(|number| number.map(i64::cast_unsigned))
}

fn insert(connection: &Connection, study: StudyId, new: &NewTrial, now_ms: i64) -> rusqlite::Result<TrialId> {
    connection.execute(
        // Two look-ups in indices: a study may have many thousands of trials.
        "INSERT INTO trial (study_id, number, candidate, hash, origin, state, created_ms, unfinished) VALUES (?1, \
         (SELECT coalesce(max(number), 0) + 1 FROM trial WHERE study_id = ?1), ?2, ?3, ?4, 'queued', ?5, \
         (SELECT json_group_array(json_array(number, rung) ORDER BY number) FROM trial \
          WHERE study_id = ?1 AND state IN ('queued', 'running')))",
        params![study.0, new.candidate.canonical_json(), new.candidate.hash(), new.origin, now_ms],
    )?;
    let id = TrialId(connection.last_insert_rowid());
    if !new.predicted.is_empty() {
        connection.execute(
            "INSERT INTO rung (trial_id, rung, started_ms, duration_ms) VALUES (?1, 'predicted', ?2, 0)",
            params![id.0, now_ms],
        )?;
        write_measurements(connection, id, Rung::Predicted, &new.predicted)?;
        connection.execute("UPDATE trial SET rung = 'predicted' WHERE id = ?1", [id.0])?;
    }
    Ok(id)
}

fn take(connection: &Connection, id: TrialId, worker: &WorkerIdentity, now_ms: i64) -> rusqlite::Result<()> {
    connection.execute(
        "UPDATE trial SET state = 'running', attempts = attempts + 1, started_ms = ?2, \
         worker_pid = ?3, worker_started = ?4, worker_boot = ?5 WHERE id = ?1",
        params![id.0, now_ms, worker.pid, worker.started_ticks.cast_signed(), worker.boot_id],
    )?;
    Ok(())
}

fn write_rung(connection: &Connection, id: TrialId, finished: &FinishedRung) -> rusqlite::Result<()> {
    connection.execute(
        "INSERT INTO rung (trial_id, rung, started_ms, duration_ms) VALUES (?1, ?2, ?3, ?4)",
        params![
            id.0,
            finished.rung,
            finished.started.as_millisecond(),
            i64::try_from(finished.duration.as_millis()).unwrap_or(i64::MAX)
        ],
    )?;
    write_measurements(connection, id, finished.rung, &finished.measurements)?;
    let mut statement = connection.prepare_cached(
        "INSERT INTO generation (trial_id, task, sample, completion, verdict, detail, codebleu) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for g in &finished.generations {
        statement.execute(params![
            id.0,
            g.task,
            g.sample,
            g.completion,
            g.verdict,
            g.detail,
            g.codebleu_json
        ])?;
    }
    connection.execute("UPDATE trial SET rung = ?2 WHERE id = ?1", params![id.0, finished.rung])?;
    if let Some(Artifact { path, bytes, hash, sha256 }) = &finished.artifact {
        connection.execute(
            "UPDATE trial SET artifact_path = ?2, artifact_bytes = ?3, artifact_hash = ?4, artifact_sha256 = ?5 WHERE id = ?1",
            params![id.0, path, signed(*bytes), hash, sha256],
        )?;
    }
    Ok(())
}

fn write_measurements(
    connection: &Connection,
    id: TrialId,
    rung: Rung,
    measurements: &[NewMeasurement],
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO measurement (trial_id, rung, metric, unit, value, low, high, samples, raw) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
    )?;
    for m in measurements {
        statement.execute(params![
            id.0,
            rung,
            m.metric,
            m.unit,
            Real(m.value),
            Real(m.low),
            Real(m.high),
            signed(m.samples),
            pack(&m.raw)
        ])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::{NewGeneration, NewMeasurement, NewRepeat, Origin};
    use autotune_core::space::Candidate;

    #[test]
    fn a_full_disk_loses_nothing_that_was_finished() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("t.db")).unwrap();
        let study = crate::testing::study(&store, "s");
        let new = NewTrial {
            candidate: Candidate::default(),
            origin: Origin::preset("F16"),
            predicted: Vec::new(),
        };
        let asked = store.ask_trial(study, &WorkerIdentity::current(), |_| Some(new)).unwrap();
        let Asked::New(mut live) = asked else { panic!("{asked:?}") };
        let rung = |rung| FinishedRung::new(rung, Timestamp::UNIX_EPOCH, Duration::ZERO);
        store.finish_rung(&mut live, &rung(Rung::Built)).unwrap();
        let mut big = rung(Rung::Graded);
        big.generations = vec![NewGeneration { completion: "x".repeat(4 << 20), ..NewGeneration::default() }];
        // SQLite's own ceiling raises the same error as a disk without space.
        let cap = |pages: u32| {
            store.connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(())).unwrap();
        };
        cap(64);
        let error = store.finish_rung(&mut live, &big).unwrap_err();
        assert!(matches!(error, StoreError::DiskFull(_)), "{error}");
        cap(1 << 30);
        assert_eq!(store.trial(study, 1).unwrap().rung, Some(Rung::Built));
        store.finish_rung(&mut live, &big).unwrap();
        assert_eq!(live.rung(), Some(Rung::Graded));

        // One more timing of a complete trial is stored whole, or not at all.
        store.end_trial(*live, EndState::Complete, None).unwrap();
        let repeat = NewRepeat {
            started: Timestamp::UNIX_EPOCH,
            duration: Duration::ZERO,
            measurements: vec![NewMeasurement::exact(&"m".repeat(4 << 20), "ms", 1.0)],
            failure: None,
        };
        cap(64);
        let error = store.add_repeat(study, 1, &repeat).unwrap_err();
        assert!(matches!(error, StoreError::DiskFull(_)), "{error}");
        cap(1 << 30);
        assert_eq!(store.trial(study, 1).unwrap().repeats, 0);
        assert_eq!(store.add_repeat(study, 1, &repeat).unwrap(), 1);
        assert_eq!(store.trial(study, 1).unwrap().repeats, 1);
    }
}
