//! Studies: creating, finding, their state and their notes.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::read::time;
use super::runner;
use super::segment::{newest_of, root_of, segment_of, segments_of};
use super::{Host, NewStudy, Result, Store, StoreError, StudyId, StudyRecord, StudyState};

const COLUMNS: &str = "SELECT s.id, coalesce(r.name, s.name), s.created_ms, s.state, s.reason, s.command, s.settings_json, \
     s.space_json, s.objectives_json, s.versions_json, s.seed, s.budget_bytes, s.model_path, s.model_hash, s.engine, h.fingerprint, \
     h.json, coalesce(g.root_id, s.id), coalesce(g.number, 1), i.json \
     FROM study s JOIN host h ON h.id = s.host_id LEFT JOIN segment g ON g.study_id = s.id \
     LEFT JOIN study r ON r.id = g.root_id LEFT JOIN identity i ON i.study_id = s.id";

/// Said of a study whose process is gone.
const GONE: &str = "the process that ran it is gone (killed, or the machine went down)";

impl Store {
    /// Creates a study in the state `running`. A taken name gets a number appended: read it back with [`Store::study_by_id`].
    ///
    /// # Errors
    /// A name that is empty or a number, a text that is no JSON, or the database refuses.
    pub fn create_study(&self, new: &NewStudy) -> Result<StudyId> {
        let wished = new.name.trim();
        if wished.is_empty() || wished.parse::<i64>().is_ok() {
            return Err(StoreError::BadName(new.name.clone()));
        }
        let transaction = self.write()?;
        let id = self.sql(insert(&transaction, new, wished, self.now_ms()))?;
        self.sql(transaction.commit())?;
        Ok(id)
    }

    /// All studies, oldest first, each by its newest segment.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn studies(&self) -> Result<Vec<StudyRecord>> {
        let view = self.read()?;
        let roots = || -> rusqlite::Result<Vec<StudyId>> {
            let query = "SELECT id FROM study WHERE id NOT IN (SELECT study_id FROM segment) ORDER BY id";
            view.prepare_cached(query)?.query_map([], |row| Ok(StudyId(row.get(0)?)))?.collect()
        };
        let one = |root| self.sql(newest_of(&view, root).and_then(|id| of_row(&view, id)));
        self.sql(roots())?.into_iter().map(one).collect()
    }

    /// A study by its number or its name, the newest without either, each by its newest segment; `number.segment` (or `name.segment`) is
    /// one of its segments.
    ///
    /// # Errors
    /// There is none, and the text says which there are.
    pub fn study(&self, selector: Option<&str>) -> Result<StudyRecord> {
        let view = self.read()?;
        let root = match selector {
            None => self.sql(newest_root(&view))?,
            Some(selector) => self.sql(root_named(&view, selector))?,
        };
        if let Some(root) = root {
            return self.sql(newest_of(&view, root).and_then(|id| of_row(&view, id)));
        }
        if let Some((study, number)) = selector.and_then(|s| s.rsplit_once('.'))
            && let (Some(root), Ok(number)) = (self.sql(root_named(&view, study))?, number.parse())
        {
            return match self.sql(segment_of(&view, root, number))? {
                Some(id) => self.sql(of_row(&view, id)),
                None => Err(StoreError::NoSegment {
                    study: root.0,
                    count: self.sql(segments_of(&view, root))?.len(),
                    wanted: selector.unwrap_or_default().to_owned(),
                }),
            };
        }
        Err(StoreError::NoStudy {
            wanted: selector.unwrap_or("newest").to_owned(),
            known: self.sql(known(&view))?,
        })
    }

    /// A segment of a study by its row.
    ///
    /// # Errors
    /// There is none.
    pub fn study_by_id(&self, id: StudyId) -> Result<StudyRecord> {
        let view = self.read()?;
        let query = "SELECT EXISTS (SELECT 1 FROM study WHERE id = ?1)";
        if self.sql(view.query_row(query, [id.0], |row| row.get::<_, bool>(0)))? {
            return self.sql(of_row(&view, id));
        }
        Err(StoreError::NoStudy { wanted: id.0.to_string(), known: self.sql(known(&view))? })
    }

    /// Says what the study does now, and why. `running` also enters this process as one that runs it, any other state removes it.
    ///
    /// # Errors
    /// There is no such study, or the database refuses.
    pub fn set_study_state(&self, study: StudyId, state: StudyState, reason: Option<&str>) -> Result<()> {
        let transaction = self.write()?;
        let changed = self.sql(transaction.execute(
            "UPDATE study SET state = ?2, reason = ?3 WHERE id = ?1",
            params![study.0, state, reason],
        ))?;
        if changed == 0 {
            drop(transaction);
            return Err(self.study_by_id(study).err().unwrap_or(missing(study)));
        }
        self.sql(match state {
            StudyState::Running => runner::begin(&transaction, study, self.now_ms()),
            _ => runner::end(&transaction, study),
        })?;
        self.sql(transaction.commit())
    }

    /// Raises or replaces the stored settings (a resumed study may be given more trials or time).
    ///
    /// # Errors
    /// The text is no JSON, there is no such study, or the database refuses.
    pub fn set_study_settings(&self, study: StudyId, settings_json: &str) -> Result<()> {
        let changed =
            self.sql(self.connection.execute(
                "UPDATE study SET settings_json = ?2 WHERE id = ?1",
                params![study.0, settings_json],
            ))?;
        if changed == 0 { Err(missing(study)) } else { Ok(()) }
    }

    /// Keeps a value under a key of the study, replacing an earlier one.
    ///
    /// # Errors
    /// There is no such study, or the database refuses.
    pub fn save_note(&self, study: StudyId, key: &str, value: &str) -> Result<()> {
        self.sql(self.connection.execute(
            "INSERT INTO note (study_id, key, value) VALUES (?1, ?2, ?3) \
             ON CONFLICT (study_id, key) DO UPDATE SET value = excluded.value",
            params![study.0, key, value],
        ))?;
        Ok(())
    }

    /// The value under a key of the study.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn note(&self, study: StudyId, key: &str) -> Result<Option<String>> {
        self.sql(
            self.connection
                .query_row(
                    "SELECT value FROM note WHERE study_id = ?1 AND key = ?2",
                    params![study.0, key],
                    |row| row.get(0),
                )
                .optional(),
        )
    }

    /// All notes of the study.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn notes(&self, study: StudyId) -> Result<BTreeMap<String, String>> {
        self.sql(self.connection.prepare_cached("SELECT key, value FROM note WHERE study_id = ?1").and_then(
            |mut statement| statement.query_map([study.0], |row| Ok((row.get(0)?, row.get(1)?)))?.collect(),
        ))
    }
}

/// Inserts a study, as one that this process runs.
pub(super) fn insert(
    transaction: &Transaction<'_>,
    new: &NewStudy,
    wished: &str,
    now_ms: i64,
) -> rusqlite::Result<StudyId> {
    let mut taken = transaction.prepare("SELECT EXISTS (SELECT 1 FROM study WHERE name = ?1)")?;
    let mut name = wished.to_owned();
    let mut next = 2u64;
    while taken.query_row([&name], |row| row.get(0))? {
        name = format!("{wished}-{next}");
        next += 1;
    }
    transaction.execute(
        "INSERT OR IGNORE INTO host (fingerprint, json) VALUES (?1, ?2)",
        [&new.host_fingerprint, &new.host_json],
    )?;
    transaction.execute(
        "INSERT INTO study (name, created_ms, state, command, settings_json, space_json, objectives_json, \
         versions_json, seed, budget_bytes, model_path, model_hash, engine, host_id) \
         SELECT ?1, ?2, 'running', ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, id \
         FROM host WHERE fingerprint = ?13 AND json = ?14",
        params![
            name,
            now_ms,
            new.command,
            new.settings_json,
            new.space_json,
            new.objectives_json,
            new.versions_json,
            new.seed.cast_signed(),
            super::trial::signed(new.budget_bytes),
            new.model_path,
            new.model_hash,
            new.engine,
            new.host_fingerprint,
            new.host_json,
        ],
    )?;
    let id = StudyId(transaction.last_insert_rowid());
    runner::begin(transaction, id, now_ms)?;
    Ok(id)
}

/// The root of the study that was begun last, or of whose segments one was.
fn newest_root(view: &Connection) -> rusqlite::Result<Option<StudyId>> {
    let query = "SELECT id FROM study ORDER BY id DESC LIMIT 1";
    let newest = view.query_row(query, [], |row| row.get(0)).optional()?;
    newest.map(|id| root_of(view, StudyId(id))).transpose()
}

/// The root of the study of this number or name.
fn root_named(view: &Connection, selector: &str) -> rusqlite::Result<Option<StudyId>> {
    let found = match selector.parse::<i64>() {
        Ok(id) => view.query_row("SELECT id FROM study WHERE id = ?1", [id], |row| row.get(0)),
        Err(_) => view.query_row("SELECT id FROM study WHERE name = ?1", [selector], |row| row.get(0)),
    };
    found.optional()?.map(|id| root_of(view, StudyId(id))).transpose()
}

/// A row with all that is read of it; one that is stored as running while no process runs it is interrupted.
fn of_row(view: &Connection, id: StudyId) -> rusqlite::Result<StudyRecord> {
    let mut study = view.query_row(&format!("{COLUMNS} WHERE s.id = ?1"), [id.0], record)?;
    study.trials = counts(view, id)?;
    study.segments = segments_of(view, study.root)?;
    if runner::any_alive(view, id)? {
        (study.state, study.reason) = (StudyState::Running, None);
    } else if study.state == StudyState::Running && !runner::any_worker_alive(view, id)? {
        (study.state, study.reason) = (StudyState::Interrupted, Some(GONE.to_owned()));
    }
    Ok(study)
}

fn missing(study: StudyId) -> StoreError {
    StoreError::NoStudy { wanted: study.0.to_string(), known: "`autotune studies` lists them".into() }
}

/// The studies that exist, as a clause for an error.
fn known(view: &rusqlite::Connection) -> rusqlite::Result<String> {
    let mut statement = view.prepare(
        "SELECT id, name FROM study WHERE id NOT IN (SELECT study_id FROM segment) ORDER BY id DESC LIMIT 5",
    )?;
    let names = statement
        .query_map([], |row| Ok(format!("{} ({})", row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    Ok(if names.is_empty() {
        "the database holds no study yet; `autotune --budget 8GB` starts one".to_owned()
    } else {
        format!("the newest are {}", names.join(", "))
    })
}

fn record(row: &Row<'_>) -> rusqlite::Result<StudyRecord> {
    Ok(StudyRecord {
        id: StudyId(row.get(0)?),
        root: StudyId(row.get(17)?),
        segment: row.get(18)?,
        segments: Vec::new(),
        name: row.get(1)?,
        created: time(row, 2)?,
        state: row.get(3)?,
        reason: row.get(4)?,
        command: row.get(5)?,
        settings_json: row.get(6)?,
        space_json: row.get(7)?,
        objectives_json: row.get(8)?,
        versions_json: row.get(9)?,
        identity_json: row.get(19)?,
        seed: row.get::<_, i64>(10)?.cast_unsigned(),
        budget_bytes: row.get::<_, i64>(11)?.cast_unsigned(),
        model_path: row.get(12)?,
        model_hash: row.get(13)?,
        engine: row.get(14)?,
        host: Host { fingerprint: row.get(15)?, json: row.get(16)? },
        trials: BTreeMap::new(),
    })
}

fn counts(view: &rusqlite::Connection, study: StudyId) -> rusqlite::Result<BTreeMap<super::TrialState, u64>> {
    let mut statement =
        view.prepare_cached("SELECT state, count(*) FROM trial WHERE study_id = ?1 GROUP BY state")?;
    statement.query_map([study.0], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned())))?.collect()
}
