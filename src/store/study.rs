//! Studies: creating, finding, their state and their notes.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Row, params};

use super::read::time;
use super::{Host, NewStudy, Result, Store, StoreError, StudyId, StudyRecord, StudyState};

const COLUMNS: &str = "SELECT s.id, s.name, s.created_ms, s.state, s.reason, s.command, s.settings_json, s.space_json, \
     s.objectives_json, s.versions_json, s.seed, s.budget_bytes, s.model_path, s.model_hash, s.engine, h.fingerprint, h.json \
     FROM study s JOIN host h ON h.id = s.host_id";

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
        let insert = || -> rusqlite::Result<i64> {
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
                    self.now_ms(),
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
            Ok(transaction.last_insert_rowid())
        };
        let id = self.sql(insert())?;
        self.sql(transaction.commit())?;
        Ok(StudyId(id))
    }

    /// All studies, oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn studies(&self) -> Result<Vec<StudyRecord>> {
        let view = self.read()?;
        let mut studies =
            self.sql(view.prepare_cached(&format!("{COLUMNS} ORDER BY s.id")).and_then(|mut statement| {
                statement.query_map([], record)?.collect::<rusqlite::Result<Vec<_>>>()
            }))?;
        for study in &mut studies {
            study.trials = self.sql(counts(&view, study.id))?;
        }
        Ok(studies)
    }

    /// A study by its number or its name; the newest without either.
    ///
    /// # Errors
    /// There is none, and the text says which there are.
    pub fn study(&self, selector: Option<&str>) -> Result<StudyRecord> {
        let view = self.read()?;
        let find = |tail: &str, value: &dyn rusqlite::ToSql| -> rusqlite::Result<Option<StudyRecord>> {
            view.query_row(&format!("{COLUMNS} {tail}"), [value], record).optional()
        };
        let found = match selector.map(|s| (s, s.parse::<i64>())) {
            None => find("WHERE ?1 ORDER BY s.id DESC LIMIT 1", &1),
            Some((_, Ok(id))) => find("WHERE s.id = ?1", &id),
            Some((name, Err(_))) => find("WHERE s.name = ?1", &name),
        };
        match self.sql(found)? {
            Some(mut study) => {
                study.trials = self.sql(counts(&view, study.id))?;
                Ok(study)
            }
            None => Err(StoreError::NoStudy {
                wanted: selector.unwrap_or("newest").to_owned(),
                known: self.sql(known(&view))?,
            }),
        }
    }

    /// A study by its id.
    ///
    /// # Errors
    /// There is none.
    pub fn study_by_id(&self, id: StudyId) -> Result<StudyRecord> {
        self.study(Some(&id.0.to_string()))
    }

    /// Says what the study does now, and why.
    ///
    /// # Errors
    /// There is no such study, or the database refuses.
    pub fn set_study_state(&self, study: StudyId, state: StudyState, reason: Option<&str>) -> Result<()> {
        let changed = self.sql(self.connection.execute(
            "UPDATE study SET state = ?2, reason = ?3 WHERE id = ?1",
            params![study.0, state, reason],
        ))?;
        if changed == 0 { Err(self.study_by_id(study).err().unwrap_or(missing(study))) } else { Ok(()) }
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

fn missing(study: StudyId) -> StoreError {
    StoreError::NoStudy { wanted: study.0.to_string(), known: "`autotune studies` lists them".into() }
}

/// The studies that exist, as a clause for an error.
fn known(view: &rusqlite::Connection) -> rusqlite::Result<String> {
    let mut statement = view.prepare("SELECT id, name FROM study ORDER BY id DESC LIMIT 5")?;
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
        name: row.get(1)?,
        created: time(row, 2)?,
        state: row.get(3)?,
        reason: row.get(4)?,
        command: row.get(5)?,
        settings_json: row.get(6)?,
        space_json: row.get(7)?,
        objectives_json: row.get(8)?,
        versions_json: row.get(9)?,
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
