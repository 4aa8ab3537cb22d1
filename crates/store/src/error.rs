//! What can go wrong with a database, told as the user needs it.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// A failed store operation. Texts are fragments that fit behind "failed to ...:".
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No file there.
    #[error("no database at `{}`; `autotune --budget 8GB` starts a study and creates it, --results names another folder", .0.display())]
    Missing(PathBuf),
    /// The file is something else.
    #[error("`{}` is not a database; move it away or name another folder with --results", .0.display())]
    NotADatabase(PathBuf),
    /// A SQLite database of another program.
    #[error("`{}` is a database of another program (application id {found:#x}); name another folder with --results", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The application id found.
        found: i64,
    },
    /// Written by a later autotune.
    #[error(
        "`{}` has the schema version {found}, but this autotune knows versions up to {known}; use a newer autotune or another folder (--results)",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version known here.
        known: i64,
    },
    /// The folder of the database could not be made.
    #[error("the folder `{}` cannot be created: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// File or folder may not be written (or not even opened).
    #[error("`{}` cannot be opened or written; the database and its folder must both be writable (check permissions, or name another folder with --results)", .0.display())]
    ReadOnly(PathBuf),
    /// A read-only database whose log must be worked in, and no place for a copy.
    #[error(
        "`{}` cannot be written, and its write-ahead log, which its last writer left behind, could not be merged into a temporary \
         copy: {source}; set TMPDIR to a folder with space, or copy the database and its -wal file to where they can be written",
        path.display()
    )]
    NoCopy {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// No space.
    #[error("no space is left for `{}`; free some and run `autotune resume`, everything finished so far is kept", .0.display())]
    DiskFull(PathBuf),
    /// The disk answers with errors.
    #[error("`{}` cannot be read or written: {detail}; check the disk, its free space and its mount", path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// SQLite's own words.
        detail: String,
    },
    /// Pages that contradict each other.
    #[error("`{}` is damaged ({detail}); `autotune salvage {}` saves what can be read", path.display(), autotune_core::shell::path(path))]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite found.
        detail: String,
    },
    /// Another process held the write lock for longer than the patience.
    #[error("`{}` is locked by another process for over {patience_s} s; wait for it, or end it", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
        /// Seconds waited.
        patience_s: u64,
    },
    /// A measurement that is NaN or infinite.
    #[error("refused to store a value that is not a number: {0}; please report this")]
    NotANumber(String),
    /// No such study.
    #[error("no study `{wanted}`; {known}")]
    NoStudy {
        /// What was asked for.
        wanted: String,
        /// The studies that exist, as a clause.
        known: String,
    },
    /// No such trial.
    #[error("study {study} has no trial {number}")]
    NoTrial {
        /// The study's number.
        study: i64,
        /// The trial's number.
        number: u64,
    },
    /// No such segment.
    #[error("study {study} has {count} segments, and `{wanted}` names another one")]
    NoSegment {
        /// The study's number.
        study: i64,
        /// How many segments it has.
        count: usize,
        /// What was asked for.
        wanted: String,
    },
    /// Another process opened a segment of the study at the same time.
    #[error("another process opened a new segment of study {study} at this moment; resume it again")]
    NotNewest {
        /// The study's number.
        study: i64,
    },
    /// A study name that a selector could not tell from a number.
    #[error("`{0}` cannot name a study; use a name that is not empty and not a number")]
    BadName(String),
    /// The trial has ended: it is history.
    #[error("trial {0} has already ended and cannot be changed")]
    Ended(u64),
    /// Only a complete trial can be timed once more.
    #[error("trial {number} is {state}: only a complete trial can be re-timed")]
    NotComplete {
        /// The trial.
        number: u64,
        /// Its state.
        state: &'static str,
    },
    /// Another worker has the trial now.
    #[error("trial {0} was taken over by another worker")]
    Lost(u64),
    /// Rungs only go up.
    #[error("trial {number} cannot finish the stage `{found}` after `{reached}`")]
    RungOrder {
        /// The trial's number.
        number: u64,
        /// The rung offered.
        found: &'static str,
        /// The rung it had reached.
        reached: &'static str,
    },
    /// A stored value that this version cannot read.
    #[error("the database holds an unreadable {what}: {detail}")]
    Unreadable {
        /// Which value.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// Anything else that SQLite reports.
    #[error("the database `{}` refused: {source}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// SQLite's own words.
        source: rusqlite::Error,
    },
}

impl StoreError {
    /// Whether the user or the machine, not a bug, is the cause.
    #[must_use]
    pub fn is_expected(&self) -> bool {
        !matches!(
            self,
            Self::Sqlite { .. }
                | Self::RungOrder { .. }
                | Self::Ended(_)
                | Self::NotComplete { .. }
                | Self::Lost(_)
                | Self::NotANumber(_)
                | Self::Unreadable { .. }
        )
    }

    /// Whether the cause is the machine (disk, permission, a lock) and not what was asked for.
    #[must_use]
    pub fn is_environment(&self) -> bool {
        matches!(
            self,
            Self::Folder { .. }
                | Self::ReadOnly(_)
                | Self::NoCopy { .. }
                | Self::DiskFull(_)
                | Self::Disk { .. }
                | Self::Corrupt { .. }
                | Self::Busy { .. }
        )
    }

    /// Sorts an SQLite error into the cases above.
    pub(super) fn from_sqlite(path: &Path, error: rusqlite::Error) -> Self {
        let path = path.to_owned();
        let (code, extended) = match &error {
            rusqlite::Error::SqliteFailure(code, _) => (code.code, code.extended_code),
            // Tables are strict and their words are checked when they are written: another type or word is damage.
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::Utf8Error(..) => {
                return Self::Corrupt { path, detail: error.to_string() };
            }
            _ => return Self::Sqlite { path, source: error },
        };
        match code {
            ErrorCode::NotADatabase => Self::NotADatabase(path),
            ErrorCode::DatabaseCorrupt => Self::Corrupt { path, detail: error.to_string() },
            ErrorCode::DiskFull => Self::DiskFull(path),
            // "Unable to increase the size of the shared memory file", the first thing that a connection in WAL mode does.
            ErrorCode::SystemIoFailure if extended == rusqlite::ffi::SQLITE_IOERR_SHMSIZE => {
                Self::DiskFull(path)
            }
            ErrorCode::SystemIoFailure => Self::Disk { path, detail: error.to_string() },
            ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied => Self::ReadOnly(path),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                Self::Busy { path, patience_s: super::open::PATIENCE.as_secs() }
            }
            _ => Self::Sqlite { path, source: error },
        }
    }
}
