//! `SHA256SUMS`, in the format that `sha256sum --check` reads.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use autotune_host::identity::sha256_file;

/// The file of checksums in a hand-over folder.
pub const SUMS_FILE: &str = "SHA256SUMS";
/// No list of ours is longer, in bytes.
const LONGEST_LIST: u64 = 1 << 20;

/// Why a folder is not what its checksums say.
#[derive(Debug, thiserror::Error)]
pub enum SumError {
    /// A file cannot be read.
    #[error("failed to read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line that is no checksum.
    #[error("{} holds the line `{line}`, which is not a checksum; export the trial again", path.display())]
    Line {
        /// The list.
        path: PathBuf,
        /// What was found.
        line: String,
    },
    /// Other content than when it was written.
    #[error("{} has the SHA-256 {found}, but {SUMS_FILE} says {expected}: it was changed or damaged, export the trial again", path.display())]
    Differs {
        /// The file.
        path: PathBuf,
        /// Its hash.
        found: String,
        /// The hash that it had.
        expected: String,
    },
}

/// Checks every file that a folder's list names; returns how many there are. A name with a folder in it is no name of ours.
///
/// # Errors
/// A file is missing or differs, or the list is none.
pub fn check_sums(folder: &Path) -> Result<usize, SumError> {
    let list = folder.join(SUMS_FILE);
    let read = |path: &Path| {
        let path = path.to_owned();
        move |source| SumError::Read { path, source }
    };
    let lines = BufReader::new(File::open(&list).map_err(read(&list))?.take(LONGEST_LIST)).lines();
    let mut checked = 0;
    for line in lines {
        let line = line.map_err(read(&list))?;
        let parts = line.split_once("  ").filter(|(sum, name)| {
            let plain = !name.is_empty() && !name.contains(['/', '\\']) && *name != "..";
            sum.len() == 64 && sum.bytes().all(|b| b.is_ascii_hexdigit()) && plain
        });
        let Some((expected, name)) = parts else {
            return Err(SumError::Line { path: list, line: line.chars().take(80).collect() });
        };
        let path = folder.join(name);
        let found = sha256_file(&path).map_err(read(&path))?;
        if !found.eq_ignore_ascii_case(expected) {
            return Err(SumError::Differs { path, found, expected: expected.to_owned() });
        }
        checked += 1;
    }
    Ok(checked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.gguf");
        std::fs::write(&file, "abc").unwrap();
        // The test vector of FIPS 180-2.
        let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_file(&file).unwrap(), sum);
        let list = folder.path().join(SUMS_FILE);
        std::fs::write(&list, format!("{sum}  a.gguf\n")).unwrap();
        assert_eq!(check_sums(folder.path()).unwrap(), 1);
        std::fs::write(&file, "abd").unwrap();
        assert!(matches!(check_sums(folder.path()), Err(SumError::Differs { .. })));
        std::fs::remove_file(&file).unwrap();
        assert!(matches!(check_sums(folder.path()), Err(SumError::Read { .. })));
    }

    #[test]
    fn a_list_that_leaves_its_folder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for line in [format!("{}  ../a", "0".repeat(64)), "short  a".to_owned(), "nothing".to_owned()] {
            std::fs::write(folder.path().join(SUMS_FILE), line).unwrap();
            assert!(matches!(check_sums(folder.path()), Err(SumError::Line { .. })));
        }
    }
}
