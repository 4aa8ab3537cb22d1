//! Opening: creating, recognising, migrating, and saying what is wrong with a file.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::cache::Cache;
use super::{Result, StoreError, migrate, reach};

/// How long a write waits for another process. A sampler may think for seconds inside its ask.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to a results database. Cheap to open; each thread opens its own.
pub struct Store {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
    pub(super) cache: Cache,
    /// Whether a copy is read in place of the file.
    copied: bool,
    /// Dropped behind the connection, which reaches its files through it.
    _folder: Option<File>,
    clock: Box<dyn Fn() -> Timestamp + Send>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens a database for reading and writing; creates folder and file where they are missing, and migrates an older schema.
    ///
    /// # Errors
    /// The folder cannot be made or written, the file is something else, was written by a newer version or is damaged.
    pub fn open(path: &Path) -> Result<Self> {
        if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)
                .map_err(|source| StoreError::Folder { path: folder.to_owned(), source })?;
        }
        let store = Self::connect(path, OpenFlags::default())?;
        store.check()?;
        store.sql(set_up(&store.connection))?;
        Ok(store)
    }

    /// Opens a database that must exist, for reading only; nothing is created. Works on a read-only folder too.
    ///
    /// # Errors
    /// There is no file, it is something else, was written by a newer version or is damaged.
    pub fn open_existing(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Err(StoreError::Missing(path.to_owned()));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let store = Self::connect(path, flags)?;
        let store = match store.check() {
            // WAL needs a file beside the database; in a read-only folder without one nobody writes either.
            Err(StoreError::ReadOnly(_)) if !has_wal(path) => Self::connect_immutable(path)?,
            // What the log holds is newer than the file: it is worked in where that can be done.
            Err(StoreError::ReadOnly(_)) => return reach::copy_with_log(path),
            other => other.map(|()| store)?,
        };
        store.check()?;
        if store.sql(migrate::user_version(&store.connection))? < migrate::VERSION {
            match Self::open(path) {
                Ok(migrated) => drop(migrated),
                Err(StoreError::ReadOnly(_)) => return store.migrated_copy(),
                Err(other) => return Err(other),
            }
            drop(store);
            return Self::connect(path, flags);
        }
        Ok(store)
    }

    /// A copy with today's schema, for a database of an earlier version that may not be written. It goes with the connection.
    fn migrated_copy(&self) -> Result<Self> {
        let copy = std::env::temp_dir().join(format!("autotune-{}-{}.db", std::process::id(), self.now_ms()));
        self.sql(self.connection.execute("VACUUM INTO ?1", [copy.to_string_lossy()]))?;
        let opened = Self::connect(&copy, OpenFlags::default())
            .and_then(|store| store.sql(migrate::migrate(&store.connection)).map(|()| store));
        // An open file stays readable without its name; where it does not, the name stays until the system cleans up.
        let _ = std::fs::remove_file(&copy);
        Ok(Self { path: self.path.clone(), ..opened? })
    }

    /// Replaces the clock, for tests.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> Timestamp + Send + 'static) -> Self {
        self.clock = Box::new(clock);
        self
    }

    /// Whether a copy is read, since the file lies on a read-only file system and its write-ahead log was left behind.
    #[must_use]
    pub fn is_copy(&self) -> bool {
        self.copied
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn now_ms(&self) -> i64 {
        (self.clock)().as_millisecond()
    }

    /// Names the file in an SQLite error.
    pub(super) fn sql<T>(&self, result: rusqlite::Result<T>) -> Result<T> {
        result.map_err(|error| StoreError::from_sqlite(&self.path, error))
    }

    /// Begins a write that no other process can interleave with.
    pub(super) fn write(&self) -> Result<Transaction<'_>> {
        self.sql(Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate))
    }

    /// Begins a consistent view for several reads.
    pub(super) fn read(&self) -> Result<Transaction<'_>> {
        self.sql(Transaction::new_unchecked(&self.connection, TransactionBehavior::Deferred))
    }

    pub(super) fn connect(path: &Path, flags: OpenFlags) -> Result<Self> {
        Self::prepare(path, reach::connect(path, flags))
    }

    /// The same, told as a copy of the file at a path.
    pub(super) fn into_copy_of(self, path: &Path) -> Self {
        Self { path: path.to_owned(), copied: true, ..self }
    }

    fn connect_immutable(path: &Path) -> Result<Self> {
        let mut uri = String::from("file:");
        for byte in path.as_os_str().as_encoded_bytes() {
            match byte {
                b'/' | b'.' | b'-' | b'_' => uri.push(char::from(*byte)),
                b if b.is_ascii_alphanumeric() => uri.push(char::from(*b)),
                b => uri.push_str(&format!("%{b:02X}")),
            }
        }
        uri.push_str("?immutable=1");
        let flags =
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        Self::prepare(path, Connection::open_with_flags(uri, flags).map(|connection| (connection, None)))
    }

    fn prepare(path: &Path, opened: rusqlite::Result<(Connection, Option<File>)>) -> Result<Self> {
        let (connection, folder) = opened.map_err(|e| StoreError::from_sqlite(path, e))?;
        let store = Self {
            connection,
            path: path.to_owned(),
            cache: Cache::default(),
            copied: false,
            _folder: folder,
            clock: Box::new(Timestamp::now),
        };
        store.sql(store.connection.busy_timeout(PATIENCE))?;
        store.sql(store.connection.pragma_update(None, "foreign_keys", true))?;
        store.connection.set_prepared_statement_cache_capacity(32);
        Ok(store)
    }

    /// Reads the first page: is this ours, and not from the future?
    pub(super) fn check(&self) -> Result<()> {
        // One view: another process may be creating the schema at this moment.
        let view = self.read()?;
        let found = self.sql(migrate::application_id(&view))?;
        let version = self.sql(migrate::user_version(&view))?;
        let path = || self.path.clone();
        if found != migrate::APPLICATION_ID && (found != 0 || !self.sql(migrate::is_empty(&view))?) {
            return Err(StoreError::Foreign { path: path(), found });
        }
        if version > migrate::VERSION {
            return Err(StoreError::Newer { path: path(), found: version, known: migrate::VERSION });
        }
        Ok(())
    }
}

/// Sets what a writing connection needs, and brings the schema up to date.
fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    // Switching to WAL takes an exclusive lock and does not always wait for it (a second process may be opening, too).
    let mut tries = 0;
    loop {
        match connection.pragma_update(None, "journal_mode", "wal") {
            Err(error)
                if tries < 100 && error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) =>
            {
                tries += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            result => break result?,
        }
    }
    connection.pragma_update(None, "synchronous", "full")?;
    migrate::migrate(connection)
}

fn has_wal(path: &Path) -> bool {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    std::fs::metadata(PathBuf::from(wal)).is_ok_and(|m| m.len() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_of_an_earlier_version_that_may_not_be_written_is_read_from_a_copy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old.db");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(include_str!("schema/1.sql")).unwrap();
        old.pragma_update(None, "user_version", 1).unwrap();
        old.pragma_update(None, "application_id", migrate::APPLICATION_ID).unwrap();
        drop(old);
        let before = std::fs::read(&path).unwrap();
        let copy = Store::connect_immutable(&path).unwrap().migrated_copy().unwrap();
        assert_eq!(copy.path(), path);
        assert!(copy.studies().unwrap().is_empty());
        assert_eq!(migrate::user_version(&copy.connection).unwrap(), migrate::VERSION);
        assert_eq!(std::fs::read(&path).unwrap(), before);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
