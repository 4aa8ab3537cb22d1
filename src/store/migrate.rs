//! The schema and its history: each step is applied once, in one transaction, and counted in `user_version`.

use rusqlite::{Connection, Transaction, TransactionBehavior};

/// "ATNE": marks the file as ours.
pub(super) const APPLICATION_ID: i64 = 0x4154_4e45;

/// Step `i` leads from version `i` to `i + 1`. Never edit one that was released; add another.
const STEPS: &[&str] = &[include_str!("schema/1.sql")];

/// The version that this program writes.
pub(super) const VERSION: i64 = STEPS.len() as i64;

/// Brings an open database to [`VERSION`]. The caller has refused newer and foreign ones.
pub(super) fn migrate(connection: &Connection) -> rusqlite::Result<()> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    // Read inside the transaction: another process may have migrated in the meantime.
    let version = user_version(&transaction)?;
    for step in STEPS.iter().skip(usize::try_from(version).unwrap_or(usize::MAX)) {
        transaction.execute_batch(step)?;
    }
    if version < VERSION {
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    }
    transaction.commit()
}

pub(super) fn user_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

pub(super) fn application_id(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "application_id", |row| row.get(0))
}

/// Whether the database holds nothing yet.
pub(super) fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)", [], |row| row.get(0))
}
