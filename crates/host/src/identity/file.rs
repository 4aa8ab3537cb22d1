//! Files by their content: SHA-256 of the whole file, computed once for each state of the file.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Hashes of smaller files are not kept: they are computed in no time.
const LEAST_KEPT_BYTES: u64 = 4 << 20;
/// A file that was written so shortly before may be written again within the resolution of its time stamps.
const SETTLED: Duration = Duration::from_secs(2);
/// How often a file that changes while it is read is read again.
const TRIES: u32 = 3;

/// The state of a file as the file system tells it, without reading the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Size in bytes.
    pub bytes: u64,
    /// Last change of the content, in nanoseconds since 1970.
    modified_ns: i64,
    /// Last change of content, name or permissions, in nanoseconds since 1970. No program can set it back.
    changed_ns: i64,
    /// The file's number.
    inode: u64,
    /// The file system.
    device: u64,
}

impl Stamp {
    /// The state of a file.
    ///
    /// # Errors
    /// There is no such file, or it is out of reach.
    #[cfg(unix)]
    pub fn of(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let data = fs::metadata(path)?;
        let ns = |s: i64, ns: i64| s.saturating_mul(1_000_000_000).saturating_add(ns);
        Ok(Self {
            bytes: data.len(),
            modified_ns: ns(data.mtime(), data.mtime_nsec()),
            changed_ns: ns(data.ctime(), data.ctime_nsec()),
            inode: data.ino(),
            device: data.dev(),
        })
    }

    /// The state of a file.
    ///
    /// # Errors
    /// There is no such file, or it is out of reach.
    #[cfg(not(unix))]
    pub fn of(path: &Path) -> io::Result<Self> {
        let data = fs::metadata(path)?;
        let since = data.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
        let ns = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
        Ok(Self { bytes: data.len(), modified_ns: ns, changed_ns: ns, inode: 0, device: 0 })
    }

    /// Whether the last change lies far enough back for its time stamp to tell it from the next one.
    fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let last = Duration::from_nanos(self.modified_ns.max(self.changed_ns).max(0).cast_unsigned());
        now.checked_sub(last).is_some_and(|age| age > SETTLED)
    }
}

/// A file's content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileIdentity {
    /// SHA-256, hexadecimal.
    pub sha256: String,
    /// The state of the file when it was read.
    pub stamp: Stamp,
}

/// SHA-256 of a file's content, hexadecimal; reads it once from end to end.
///
/// # Errors
/// The file cannot be read.
pub fn sha256_file(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(autotune_core::hex::encode(digest.finalize())),
            Ok(n) => digest.update(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Hashes that were computed before, kept in a folder by path and state.
#[derive(Clone, Debug, Default)]
pub struct Hashes {
    folder: Option<PathBuf>,
}

/// What is kept of a file.
#[derive(Serialize, Deserialize)]
struct Kept {
    path: PathBuf,
    file: FileIdentity,
}

impl Hashes {
    /// Keeps hashes of large files in a folder; none: every file is read.
    #[must_use]
    pub fn kept_in(folder: Option<PathBuf>) -> Self {
        Self { folder: folder.map(|f| f.join("hashes")) }
    }

    /// The content of a file, read only where its state is not that of an earlier reading.
    ///
    /// # Errors
    /// The file cannot be read, or changes all the time.
    pub fn of(&self, path: &Path) -> io::Result<FileIdentity> {
        let path = &std::path::absolute(path)?;
        let kept = self.place(path);
        let mut stamp = Stamp::of(path)?;
        let known = kept
            .as_ref()
            .filter(|_| stamp.bytes >= LEAST_KEPT_BYTES)
            .and_then(|place| serde_json::from_slice::<Kept>(&fs::read(place).ok()?).ok())
            .filter(|known| known.path == *path && known.file.stamp == stamp);
        if let Some(known) = known {
            return Ok(known.file);
        }
        for _ in 0..TRIES {
            let sha256 = sha256_file(path)?;
            let after = Stamp::of(path)?;
            if after == stamp {
                let file = FileIdentity { sha256, stamp };
                if let Some(place) = kept.filter(|_| stamp.bytes >= LEAST_KEPT_BYTES && stamp.is_settled()) {
                    keep(&place, &Kept { path: path.clone(), file: file.clone() });
                }
                return Ok(file);
            }
            stamp = after;
        }
        Err(io::Error::other("it changes while it is read"))
    }

    fn place(&self, path: &Path) -> Option<PathBuf> {
        let name = super::sha256_text(&path.to_string_lossy());
        Some(self.folder.as_ref()?.join(format!("{}.json", &name[..16])))
    }
}

/// Keeps a hash, in one step. A cache that cannot be written costs time, no more.
fn keep(place: &Path, kept: &Kept) {
    let write = || -> io::Result<()> {
        if let Some(folder) = place.parent() {
            fs::create_dir_all(folder)?;
        }
        autotune_core::atomic_file::write(place, &serde_json::to_vec(kept)?)
    };
    let _ = write();
}

/// The files of a folder and the folders in it, by name, without hidden ones (`.git`, caches of a download).
///
/// # Errors
/// A folder cannot be read.
pub fn files_of(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next)? {
            let path = entry?.path();
            let hidden = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.'));
            if hidden {
                continue;
            }
            // Files of a hub cache are links.
            if path.is_dir() {
                open.push(path);
            } else if path.is_file() {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_standard() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        fs::write(&file, "abc").unwrap();
        // The test vector of FIPS 180-2.
        let sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_file(&file).unwrap(), sum);
        assert_eq!(Hashes::default().of(&file).unwrap().sha256, sum);
        assert!(Hashes::default().of(&folder.path().join("none")).is_err());
    }

    #[test]
    fn a_kept_hash_is_used_for_the_same_state_alone() {
        let folder = tempfile::tempdir().unwrap();
        let hashes = Hashes::kept_in(Some(folder.path().join("cache")));
        let file = folder.path().join("large");
        fs::write(&file, vec![7u8; LEAST_KEPT_BYTES as usize]).unwrap();
        let fresh = hashes.of(&file).unwrap();
        let place = hashes.place(&file).unwrap();
        assert!(!place.exists(), "a file that was just written is not settled");
        let invented = FileIdentity { sha256: "invented".into(), ..fresh.clone() };
        keep(&place, &Kept { path: file.clone(), file: invented });
        assert_eq!(hashes.of(&file).unwrap().sha256, "invented");
        // One byte in place, with size and time of change put back: the time of the state's change tells.
        let modified = fs::metadata(&file).unwrap().modified().unwrap();
        let mut content = fs::read(&file).unwrap();
        content[99] ^= 1;
        fs::write(&file, content).unwrap();
        File::options().append(true).open(&file).unwrap().set_modified(modified).unwrap();
        let changed = hashes.of(&file).unwrap();
        assert_ne!(changed.sha256, "invented");
        assert_ne!(changed.sha256, fresh.sha256);
    }

    #[test]
    fn every_file_of_a_folder_counts_but_hidden_ones() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("b/.git")).unwrap();
        for name in ["z.json", "b/a.bin", ".hidden", "b/.git/x"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        let found = files_of(folder.path()).unwrap();
        let names: Vec<_> = found.iter().map(|p| p.strip_prefix(folder.path()).unwrap().to_owned()).collect();
        assert_eq!(names, [Path::new("b/a.bin"), Path::new("z.json")]);
    }
}
