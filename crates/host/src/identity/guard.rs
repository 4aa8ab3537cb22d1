//! Watches the files that a running study works from: a replaced model would otherwise go on under the first one's name.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::{FileIdentity, Stamp, sha256_file};

/// A file is no longer what the study was begun with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the model file {} {what} while the study ran: it had the SHA-256 {before} ({before_bytes} bytes); put that file back and resume, or start a new study",
    path.display()
)]
pub struct Changed {
    path: PathBuf,
    what: String,
    before: String,
    before_bytes: u64,
}

/// Files that must stay as they are.
#[derive(Default)]
pub struct Guard {
    files: Mutex<Vec<(PathBuf, FileIdentity)>>,
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}

impl Guard {
    /// Watches files from the state in which they were read.
    #[must_use]
    pub fn of(files: Vec<(PathBuf, FileIdentity)>) -> Self {
        Self { files: Mutex::new(files) }
    }

    /// Looks at every file. One whose state changed (a copy of itself, a new link) is read again; its content decides.
    ///
    /// # Errors
    /// A file has another content, or is gone.
    pub fn check(&self) -> Result<(), Changed> {
        // A look that panicked changed nothing that another look could not mend.
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        for (path, known) in files.iter_mut() {
            if Stamp::of(path).ok() != Some(known.stamp) {
                known.stamp = look_again(path, known)?;
            }
        }
        Ok(())
    }
}

fn look_again(path: &Path, known: &FileIdentity) -> Result<Stamp, Changed> {
    let changed = |what: String| Changed {
        path: path.to_owned(),
        what,
        before: known.sha256.clone(),
        before_bytes: known.stamp.bytes,
    };
    let now = Stamp::of(path).map_err(|e| changed(format!("became unreadable ({e})")))?;
    if now.bytes != known.stamp.bytes {
        return Err(changed(format!("was replaced by one of {} bytes", now.bytes)));
    }
    let sha256 = sha256_file(path).map_err(|e| changed(format!("became unreadable ({e})")))?;
    if sha256 != known.sha256 {
        return Err(changed(format!("was replaced by one with the SHA-256 {sha256}")));
    }
    Ok(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Hashes;

    #[test]
    fn a_copy_of_the_same_content_passes_and_one_other_byte_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("m");
        std::fs::write(&file, "abcd").unwrap();
        let guard = Guard::of(vec![(file.clone(), Hashes::default().of(&file).unwrap())]);
        guard.check().unwrap();
        std::fs::write(folder.path().join("n"), "abcd").unwrap();
        std::fs::rename(folder.path().join("n"), &file).unwrap();
        guard.check().unwrap();
        std::fs::write(&file, "abce").unwrap();
        let error = guard.check().unwrap_err().to_string();
        assert!(error.contains("was replaced by one with the SHA-256"), "{error}");
        std::fs::write(&file, "abcde").unwrap();
        let error = guard.check().unwrap_err().to_string();
        assert!(error.contains("replaced by one of 5 bytes"), "{error}");
        std::fs::write(&file, "abcd").unwrap();
        guard.check().unwrap();
        std::fs::remove_file(&file).unwrap();
        assert!(guard.check().unwrap_err().to_string().contains("became unreadable"));
    }
}
