//! What a study's numbers depend on, and its segments: parts whose numbers do not compare, because something that they depend on changed.
//!
//! A segment is a row of `study` of its own, so that trials, notes, events and verdicts of different segments can never meet in one front,
//! recommendation, sampler history or paired test. The first one is the **root**: its number and name are the study's.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::read::time;
use super::{NewStudy, Result, Store, StoreError, StudyId};

/// A part of a study whose trials compare with each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its row.
    pub study: StudyId,
    /// Its number in the study, from 1.
    pub number: u32,
    /// When it began.
    pub created: Timestamp,
    /// What differs from the segment before, a sentence each; empty for the first.
    pub reasons: Vec<String>,
    /// Trials in any state.
    pub trials: u64,
    /// Complete trials.
    pub complete: u64,
}

impl Store {
    /// The identity of what a segment's numbers depend on, as JSON; none where no version recorded it yet.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn identity(&self, study: StudyId) -> Result<Option<String>> {
        let query = "SELECT json FROM identity WHERE study_id = ?1";
        self.sql(self.connection.query_row(query, [study.0], |row| row.get(0)).optional())
    }

    /// Keeps the identity of what a segment's numbers depend on, replacing an earlier one.
    ///
    /// # Errors
    /// The text is no JSON, there is no such study, or the database refuses.
    pub fn save_identity(&self, study: StudyId, json: &str) -> Result<()> {
        let transaction = self.write()?;
        self.sql(insert_identity(&transaction, study, json, self.now_ms()))?;
        self.sql(transaction.commit())
    }

    /// Opens a segment behind `after`, which must be the newest one of its study, with its identity and what differs. Where another process
    /// opened a segment of the same identity in the meantime, that one is returned.
    ///
    /// # Errors
    /// Another process opened another segment in the meantime ([`StoreError::NotNewest`]), a text is no JSON, or the database refuses.
    pub fn open_segment(
        &self,
        after: StudyId,
        new: &NewStudy,
        identity_json: &str,
        reasons: &[String],
    ) -> Result<StudyId> {
        let transaction = self.write()?;
        let root = self.sql(root_of(&transaction, after))?;
        let newest = self.sql(newest_of(&transaction, root))?;
        if newest != after {
            let query = "SELECT json FROM identity WHERE study_id = ?1";
            let known: Option<String> =
                self.sql(transaction.query_row(query, [newest.0], |row| row.get(0)).optional())?;
            if known.as_deref() == Some(identity_json) {
                return Ok(newest);
            }
            return Err(StoreError::NotNewest { study: root.0 });
        }
        let number = self.sql(number_of(&transaction, after))? + 1;
        let open = || -> rusqlite::Result<StudyId> {
            let query = "SELECT name FROM study WHERE id = ?1";
            let root_name: String = transaction.query_row(query, [root.0], |row| row.get(0))?;
            let wished = format!("{root_name} (segment {number})");
            let id = super::study::insert(&transaction, new, &wished, self.now_ms())?;
            transaction.execute(
                "INSERT INTO segment (study_id, root_id, number, reasons_json) VALUES (?1, ?2, ?3, ?4)",
                params![id.0, root.0, number, serde_json::json!(reasons).to_string()],
            )?;
            insert_identity(&transaction, id, identity_json, self.now_ms())?;
            Ok(id)
        };
        let id = self.sql(open())?;
        self.sql(transaction.commit())?;
        Ok(id)
    }
}

fn insert_identity(
    transaction: &Transaction<'_>,
    study: StudyId,
    json: &str,
    now_ms: i64,
) -> rusqlite::Result<()> {
    transaction.execute(
        "INSERT INTO identity (study_id, json, recorded_ms) VALUES (?1, ?2, ?3) \
         ON CONFLICT (study_id) DO UPDATE SET json = excluded.json, recorded_ms = excluded.recorded_ms",
        params![study.0, json, now_ms],
    )?;
    Ok(())
}

/// The study that a row belongs to.
pub(super) fn root_of(view: &Connection, study: StudyId) -> rusqlite::Result<StudyId> {
    let query = "SELECT root_id FROM segment WHERE study_id = ?1";
    let root = view.query_row(query, [study.0], |row| row.get(0)).optional()?;
    Ok(root.map_or(study, StudyId))
}

/// The newest segment of a study.
pub(super) fn newest_of(view: &Connection, root: StudyId) -> rusqlite::Result<StudyId> {
    let query = "SELECT study_id FROM segment WHERE root_id = ?1 ORDER BY number DESC LIMIT 1";
    let newest = view.query_row(query, [root.0], |row| row.get(0)).optional()?;
    Ok(newest.map_or(root, StudyId))
}

/// The segment of this number; none where the study has fewer.
pub(super) fn segment_of(view: &Connection, root: StudyId, number: u32) -> rusqlite::Result<Option<StudyId>> {
    if number == 1 {
        return Ok(Some(root));
    }
    let query = "SELECT study_id FROM segment WHERE root_id = ?1 AND number = ?2";
    Ok(view.query_row(query, params![root.0, number], |row| row.get(0)).optional()?.map(StudyId))
}

fn number_of(view: &Connection, study: StudyId) -> rusqlite::Result<u32> {
    let query = "SELECT number FROM segment WHERE study_id = ?1";
    Ok(view.query_row(query, [study.0], |row| row.get(0)).optional()?.unwrap_or(1))
}

/// All segments of a study, the first one first.
pub(super) fn segments_of(view: &Connection, root: StudyId) -> rusqlite::Result<Vec<Segment>> {
    let mut statement = view.prepare_cached(
        "SELECT s.id, coalesce(g.number, 1), s.created_ms, g.reasons_json, \
         (SELECT count(*) FROM trial t WHERE t.study_id = s.id), \
         (SELECT count(*) FROM trial t WHERE t.study_id = s.id AND t.state = 'complete') \
         FROM study s LEFT JOIN segment g ON g.study_id = s.id \
         WHERE s.id = ?1 OR g.root_id = ?1 ORDER BY coalesce(g.number, 1)",
    )?;
    let rows = statement.query_map([root.0], |row| {
        let reasons: Option<String> = row.get(3)?;
        Ok(Segment {
            study: StudyId(row.get(0)?),
            number: row.get(1)?,
            created: time(row, 2)?,
            // The column is checked to be JSON; a list of another version's words is as good as none.
            reasons: reasons.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default(),
            trials: row.get::<_, i64>(4)?.cast_unsigned(),
            complete: row.get::<_, i64>(5)?.cast_unsigned(),
        })
    })?;
    rows.collect()
}
