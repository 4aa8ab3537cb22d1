//! Files that appear under their name only when they are complete: a reader sees the old content or the new, also after a crash.
//!
//! A file is written under a temporary name beside its own, since a rename does not cross file systems, then synced, renamed, and its
//! folder synced. The temporary name says which process writes, so that what a killed one left is recognised and removed (which is why
//! this is not `tempfile`).

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A name beside `path` that no other process or thread uses: `NAME.PROCESS-NUMBER.part`.
#[must_use]
pub fn temp_beside(path: &Path) -> PathBuf {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let n = COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut name = path.file_name().map(OsStr::to_os_string).unwrap_or_default();
    name.push(format!(".{}-{n}.part", std::process::id()));
    path.with_file_name(name)
}

/// Writes a whole file.
///
/// # Errors
/// The file cannot be written; an earlier one then stays as it was.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_with(path, |file| file.write_all(bytes))
}

/// Writes a whole file by a function.
///
/// # Errors
/// What the function returns, or the file cannot be written; an earlier one then stays as it was.
pub fn write_with<E: From<io::Error>>(
    path: &Path,
    content: impl FnOnce(&mut BufWriter<File>) -> Result<(), E>,
) -> Result<(), E> {
    let partial = temp_beside(path);
    let written = File::create(&partial).map_err(E::from).and_then(|file| {
        let mut file = BufWriter::new(file);
        content(&mut file)?;
        file.flush()?;
        Ok(())
    });
    match written {
        Ok(()) => Ok(publish(&partial, path)?),
        Err(error) => {
            // On a full disk every byte counts.
            let _ = fs::remove_file(&partial);
            Err(error)
        }
    }
}

/// Gives a complete file that somebody else wrote its name, durably.
///
/// # Errors
/// It cannot be synced or renamed; it is removed then.
pub fn publish(partial: &Path, path: &Path) -> io::Result<()> {
    let synced = File::open(partial).and_then(|file| file.sync_all());
    synced.and_then(|()| fs::rename(partial, path)).and_then(|()| sync_folder_of(path)).inspect_err(|_| {
        let _ = fs::remove_file(partial);
    })
}

/// Waits until the names in the folder of `path` are on the disk.
fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    // A folder that may be written but not read cannot be opened, and some file systems sync no folders.
    let Ok(folder) = File::open(folder) else { return Ok(()) };
    match folder.sync_all() {
        Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut all: Vec<String> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        all.sort();
        all
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write(&path, b"old, and longer").unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write(&path, b"old").unwrap();
        let failed = write_with(&path, |file| {
            file.write_all(&[0; 100_000])?;
            Err(io::Error::other("the source broke"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "the source broke");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn a_file_that_cannot_get_its_name_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("taken");
        fs::create_dir_all(taken.join("full")).unwrap();
        assert!(write(&taken, b"x").is_err());
        assert_eq!(names(folder.path()), ["taken"]);
        assert!(write(&folder.path().join("missing/a.txt"), b"x").is_err());
        assert!(publish(&folder.path().join("nothing"), &folder.path().join("b")).is_err());
    }
}
