//! Databases that SQLite does not reach by their path: in folders deeper than its longest path, and on read-only file systems with a
//! write-ahead log that its writer left behind.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::open::Store;
use super::{Result, StoreError, migrate};
use crate::sqlite::paths_as_given;

/// Longest path that is left to SQLite, in bytes: it takes 512, and the log's ending comes behind the name.
const LONGEST: usize = 490;

/// Opens a connection, by the folder's descriptor where the path is too long. The descriptor must live as long as the connection.
pub(super) fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<(Connection, Option<File>)> {
    let Some((folder, short)) = by_descriptor(path) else {
        return Ok((Connection::open_with_flags(path, flags)?, None));
    };
    let Some(layer) = paths_as_given() else {
        return Ok((Connection::open_with_flags(path, flags)?, None));
    };
    Ok((Connection::open_with_flags_and_vfs(short, flags, layer)?, Some(folder)))
}

/// The folder of a database whose path is too long, and the path through its descriptor; none where the path is short enough, or the
/// system has no such ways.
fn by_descriptor(path: &Path) -> Option<(File, PathBuf)> {
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // As SQLite sees it: absolute, with no links.
    let full = std::fs::canonicalize(folder).ok()?;
    let name = path.file_name()?;
    if full.as_os_str().len() + 1 + name.len() <= LONGEST {
        return None;
    }
    let folder = File::open(&full).ok()?;
    let ways = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string());
    ways.is_dir().then(|| (folder, ways.join(name)))
}

/// Opens a copy of a database and of its write-ahead log among the temporary files, where the log can be worked in; the copy goes with the
/// connection.
///
/// # Errors
/// There is no place for a copy, or the log is damaged.
pub(super) fn copy_with_log(path: &Path) -> Result<Store> {
    let folder = std::env::temp_dir().join(format!("autotune-copy-{}-{:x}", std::process::id(), nonce()));
    let remove = || {
        // An open file stays readable without its name; where it does not, the name stays until the system cleans up.
        let _ = std::fs::remove_dir_all(&folder);
    };
    let copied = std::fs::create_dir(&folder).and_then(|()| {
        for ending in ["", "-wal"] {
            std::fs::copy(with_ending(path, ending), folder.join(format!("copy.db{ending}")))?;
        }
        // A copy of a read-only file is one, too.
        for ending in ["", "-wal"] {
            let file = folder.join(format!("copy.db{ending}"));
            let mut rights = std::fs::metadata(&file)?.permissions();
            std::os::unix::fs::PermissionsExt::set_mode(&mut rights, 0o600);
            std::fs::set_permissions(&file, rights)?;
        }
        Ok(())
    });
    let opened =
        copied.map_err(|source| StoreError::NoCopy { path: path.to_owned(), source }).and_then(|()| {
            let store = Store::connect(&folder.join("copy.db"), OpenFlags::default())?;
            // Into one file, and no further log beside it.
            store.sql(store.connection.pragma_update(None, "journal_mode", "delete"))?;
            store.check()?;
            store.sql(migrate::migrate(&store.connection))?;
            Ok(store)
        });
    remove();
    opened.map(|store| store.into_copy_of(path))
}

/// The file beside a database.
fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Tells the copies of one process apart.
fn nonce() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos())
}
