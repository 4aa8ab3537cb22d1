//! Saving what a damaged database still holds, row by row, into a new one.
//!
//! Each table is read by its row numbers (or its key, where it has none) forwards until a page cannot be read, then backwards from the other
//! end: a bad page in the middle costs the rows on it and no others that are reachable. Rows whose owner was lost are left out, so that the
//! new database is whole.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params_from_iter};
use serde::Serialize;

use super::{Result, Store, StoreError};

/// What became of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Salvaged {
    /// Its name.
    pub table: &'static str,
    /// Rows in the new database.
    pub saved: u64,
    /// Rows that are known to be missing; none where nobody can count them.
    pub lost: Option<u64>,
    /// What stood in the way.
    pub remark: Option<String>,
}

/// Tables, owners first, with the key that orders them.
const TABLES: [(&str, &str); 12] = [
    ("host", "id"),
    ("study", "id"),
    ("identity", "study_id"),
    ("segment", "study_id"),
    ("note", "study_id, key"),
    ("trial", "id"),
    ("rung", "trial_id, rung"),
    ("measurement", "trial_id, rung, metric"),
    ("generation", "id"),
    ("repeat", "id"),
    ("repeat_measurement", "repeat_id, metric"),
    ("event", "id"),
];

/// Copies all readable rows of a database into a new one at `out`.
///
/// # Errors
/// The source is no database, its schema cannot be read, or the new one cannot be written.
pub fn salvage(source: &Path, out: &Path) -> Result<Vec<Salvaged>> {
    if !source.exists() {
        return Err(StoreError::Missing(source.to_owned()));
    }
    let store = Store::open(out)?;
    let done = copy_all(source, &store);
    if done.is_err() {
        drop(store);
        // A new database without content would only be in the way of the next attempt.
        for suffix in ["", "-wal", "-shm"] {
            let mut name = out.as_os_str().to_owned();
            name.push(suffix);
            let _ = std::fs::remove_file(name);
        }
    }
    done
}

fn copy_all(source: &Path, store: &Store) -> Result<Vec<Salvaged>> {
    let of_source = |e| StoreError::from_sqlite(source, e);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let damaged = Connection::open_with_flags(source, flags).map_err(of_source)?;
    // Cells that contradict their page are an error here, where guessing would invent rows.
    damaged.pragma_update(None, "cell_size_check", true).map_err(of_source)?;
    // Reads the schema: without it nothing can be told apart.
    damaged.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get::<_, i64>(0)).map_err(of_source)?;
    let transaction = store.write()?;
    // Ended trials refuse their rungs behind them; the rows were right when they were written.
    let triggers = triggers(&transaction).map_err(|e| StoreError::from_sqlite(store.path(), e))?;
    for (name, _) in &triggers {
        store.sql(transaction.execute_batch(&format!("DROP TRIGGER {name}")))?;
    }
    let mut salvaged = Vec::new();
    for (table, key) in TABLES {
        // A database of an earlier version has fewer.
        let there = damaged
            .query_row("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1", [table], |_| Ok(()))
            .optional()
            .map_err(of_source)?;
        if there.is_none() {
            continue;
        }
        salvaged.push(
            copy(&damaged, &transaction, table, key).map_err(|e| StoreError::from_sqlite(store.path(), e))?,
        );
    }
    for (_, sql) in &triggers {
        store.sql(transaction.execute_batch(sql))?;
    }
    store.sql(transaction.commit())?;
    Ok(salvaged)
}

fn triggers(connection: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    let mut statement = connection.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")?;
    let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?;
    rows.collect()
}

/// Copies one table from both ends. Errors of the damaged side are remarks; errors of the new side end the work.
fn copy(
    damaged: &Connection,
    fresh: &Connection,
    table: &'static str,
    key: &str,
) -> rusqlite::Result<Salvaged> {
    let columns_of = |connection: &Connection| -> rusqlite::Result<Vec<String>> {
        let mut statement = connection.prepare(&format!("SELECT name FROM pragma_table_info('{table}')"))?;
        statement.query_map([], |r| r.get(0))?.collect()
    };
    // A table of an earlier version may have fewer columns; the later ones may all be missing.
    let there = columns_of(damaged)?;
    let columns: Vec<String> = columns_of(fresh)?.into_iter().filter(|c| there.contains(c)).collect();
    let list = columns.join(", ");
    let places = vec!["?"; columns.len()].join(", ");
    let mut insert = fresh.prepare(&format!("INSERT OR IGNORE INTO {table} ({list}) VALUES ({places})"))?;
    let (mut saved, mut orphans, mut remark) = (0, 0, None);
    for order in ["", "DESC"] {
        let ordered: Vec<String> = key.split(", ").map(|k| format!("{k} {order}")).collect();
        let sql = format!("SELECT {list} FROM {table} ORDER BY {}", ordered.join(", "));
        let mut each = |row: &rusqlite::Row<'_>| -> rusqlite::Result<rusqlite::Result<()>> {
            let values: Vec<Value> =
                (0..columns.len()).map(|i| row.get(i)).collect::<rusqlite::Result<_>>()?;
            Ok(match insert.execute(params_from_iter(values)) {
                Ok(n) => {
                    saved += n as u64;
                    Ok(())
                }
                // Its owner was lost, or the row itself is not what the schema allows.
                Err(rusqlite::Error::SqliteFailure(code, _))
                    if code.code == rusqlite::ErrorCode::ConstraintViolation =>
                {
                    orphans += 1;
                    Ok(())
                }
                Err(error) => Err(error),
            })
        };
        let read: rusqlite::Result<()> = (|| {
            let mut statement = damaged.prepare(&sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                each(row)??;
            }
            Ok(())
        })();
        match read {
            Ok(()) => break,
            Err(error) if is_damage(&error) => remark = Some(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    // An index may still know how many there were.
    let count: Option<i64> =
        damaged.query_row(&format!("SELECT count(*) FROM {table}"), [], |r| r.get(0)).ok();
    let lost = match (&remark, count) {
        (None, _) => Some(orphans),
        (Some(_), Some(all)) => u64::try_from(all).ok().map(|all| all.saturating_sub(saved)),
        (Some(_), None) => None,
    };
    if remark.is_none() && orphans > 0 {
        remark = Some("their owners were lost".to_owned());
    }
    Ok(Salvaged { table, saved, lost, remark })
}

fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode as Code;
    matches!(
        error.sqlite_error_code(),
        Some(Code::DatabaseCorrupt | Code::NotADatabase | Code::SystemIoFailure | Code::Unknown)
    ) || matches!(
        error,
        rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::Utf8Error(..)
    )
}
