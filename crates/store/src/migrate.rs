//! The schema and its history: each step is applied once, in one transaction, and counted in `user_version`.

use rusqlite::{Connection, Transaction, TransactionBehavior};

/// "ATNE": marks the file as ours.
pub(super) const APPLICATION_ID: i64 = 0x4154_4e45;

/// Step `i` leads from version `i` to `i + 1`. Never edit one that was released; add another.
const STEPS: &[&str] =
    &[include_str!("schema/1.sql"), include_str!("schema/2.sql"), include_str!("schema/3.sql")];

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Store, salvage};

    #[test]
    fn a_database_of_the_first_version_is_brought_up_and_can_be_salvaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old.db");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(STEPS[0]).unwrap();
        old.pragma_update(None, "user_version", 1).unwrap();
        old.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        old.execute("INSERT INTO host (fingerprint, json) VALUES ('h', '{}')", []).unwrap();
        drop(old);
        let saved = salvage(&path, &folder.path().join("saved.db")).unwrap();
        assert!(saved.iter().any(|t| t.table == "host" && t.saved == 1), "{saved:?}");
        drop(Store::open_existing(&path).unwrap());
        let new = Connection::open(&path).unwrap();
        assert_eq!(user_version(&new).unwrap(), VERSION);
        let repeats: i64 = new.query_row("SELECT count(*) FROM repeat", [], |r| r.get(0)).unwrap();
        assert_eq!(repeats, 0);
    }
}
