//! The study's log: what happened when, as JSON that the emitter understands.

use jiff::Timestamp;
use rusqlite::params;
use serde::{Deserialize, Serialize};

use super::names::open_names;
use super::read::time;
use super::{Result, Store, StudyId};

open_names! {
    /// The kind of an event in a study's log.
    EventKind {
        /// The study begins or goes on.
        StudyStarted = "study_started",
        /// Something that all trials need is being made.
        Preparing = "preparing",
        /// Something that the user should know.
        Remark = "remark",
        /// The tasks were checked by their own solutions.
        TasksChecked = "tasks_checked",
        /// A trial begins or goes on.
        TrialStarted = "trial_started",
        /// Part of a stage is done.
        Progress = "progress",
        /// A stage is durable.
        RungFinished = "rung_finished",
        /// A trial ended.
        TrialEnded = "trial_ended",
        /// No further trial starts.
        StudyEnded = "study_ended",
        /// A trial reuses the timing of another with the same artifact and run.
        Twin = "twin",
        /// Tensors that got another type than the candidate names.
        Fallbacks = "fallbacks",
        /// The layers of an artifact: types and widths.
        Layers = "layers",
        /// The parts of the model that pruning kept.
        Pruned = "pruned",
        /// Interference with a measurement, as [`Disturbed`].
        Disturbed = "disturbed",
        /// Trials that were measured once more in turns.
        Rechecked = "rechecked",
    }
}

/// The body of a [`EventKind::Disturbed`]: what disturbed the timing of a trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disturbed {
    /// The trial's number.
    pub trial: u64,
    /// Whether it was measured again for that.
    pub again: bool,
    /// What happened, in words.
    pub why: String,
}

/// Something that happened, to be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// The kind, to filter by.
    pub kind: EventKind,
    /// The rest, as JSON.
    pub json: String,
}

/// A stored event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Ever growing within a database.
    pub id: i64,
    /// When it was appended.
    pub at: Timestamp,
    /// The kind.
    pub kind: EventKind,
    /// The rest, as JSON.
    pub json: String,
}

impl Store {
    /// Appends an event; returns its id.
    ///
    /// # Errors
    /// The text is no JSON, the study does not exist, or the database refuses.
    pub fn append_event(&self, study: StudyId, event: &NewEvent) -> Result<i64> {
        self.sql(self.connection.execute(
            "INSERT INTO event (study_id, at_ms, kind, json) VALUES (?1, ?2, ?3, ?4)",
            params![study.0, self.now_ms(), event.kind, event.json],
        ))?;
        Ok(self.connection.last_insert_rowid())
    }

    /// How many trials of a study were measured again because something had disturbed their timing.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn remeasured(&self, study: StudyId) -> Result<u64> {
        let mut statement = self.sql(self.connection.prepare_cached(
            "SELECT COUNT(*) FROM event WHERE study_id = ?1 AND kind = ?2 AND json_extract(json, '$.again')",
        ))?;
        let count: i64 =
            self.sql(statement.query_row(params![study.0, EventKind::Disturbed], |row| row.get(0)))?;
        Ok(count.cast_unsigned())
    }

    /// The events of a study behind an id (0: all), oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn events(&self, study: StudyId, after: i64) -> Result<Vec<Event>> {
        let mut statement = self.sql(self.connection.prepare_cached(
            "SELECT id, at_ms, kind, json FROM event WHERE study_id = ?1 AND id > ?2 ORDER BY id",
        ))?;
        let rows = self.sql(statement.query_map(params![study.0, after], |row| {
            Ok(Event { id: row.get(0)?, at: time(row, 1)?, kind: row.get(2)?, json: row.get(3)? })
        }))?;
        rows.map(|row| self.sql(row)).collect()
    }
}
