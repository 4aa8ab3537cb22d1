//! Quantized tensors on disk, by content.
//!
//! An entry's name is the hash of everything that decides its bytes: the source tensor's content, the rows and columns taken, the type,
//! the importance data and the library's version. An entry holds the bytes and, behind them, their SHA-256. Entries appear by renaming,
//! so that two builders may share a folder.
//!
//! Hashing a source takes as long as reading it, so hashes are kept too, by the file's path, length and time of change.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use super::{CompressError, Importance};
use autotune_core::atomic_file;
use autotune_core::atomic_file::temp_beside;
pub(super) use autotune_core::hex::encode as hex;
use autotune_model::ActivationStats;
use autotune_model::gguf::{Gguf, LEFT_BEHIND, TensorInfo};

/// A SHA-256.
pub(super) type Hash = [u8; 32];

fn unhex(text: &str) -> Option<Hash> {
    let bytes: Option<Vec<u8>> =
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(text.get(i..i + 2)?, 16).ok()).collect();
    bytes?.try_into().ok()
}

/// The folder of entries.
#[derive(Debug)]
pub(super) struct TensorCache {
    dir: PathBuf,
}

/// An entry that was found or made: the open file, whose first bytes are the tensor's, and their hash.
#[derive(Debug)]
pub(super) struct Entry {
    pub file: File,
    pub hash: Hash,
}

impl TensorCache {
    pub(super) fn open(dir: &Path) -> Result<Self, CompressError> {
        for sub in ["tensors", "sources", "importance"] {
            let path = dir.join(sub);
            fs::create_dir_all(&path).map_err(|cause| CompressError::Cache { path, cause })?;
        }
        Ok(Self { dir: dir.to_owned() })
    }

    fn path(&self, key: &Hash) -> PathBuf {
        let name = hex(key);
        self.dir.join("tensors").join(&name[..2]).join(&name[2..])
    }

    /// The entry of a key with `bytes` bytes of data. An entry of another length is none.
    pub(super) fn get(&self, key: &Hash, bytes: u64) -> Option<Entry> {
        let mut file = File::open(self.path(key)).ok()?;
        if file.metadata().ok()?.len() != bytes + 32 {
            return None;
        }
        let mut hash = [0; 32];
        file.seek(SeekFrom::Start(bytes)).ok()?;
        file.read_exact(&mut hash).ok()?;
        // The time of change tells the sweeper what is in use; a read-only cache still serves.
        let _ = file.set_modified(SystemTime::now());
        Some(Entry { file, hash })
    }

    /// Begins an entry.
    pub(super) fn begin(&self, key: &Hash) -> Result<EntryWriter, CompressError> {
        let path = self.path(key);
        let fail = |cause| CompressError::Cache { path: path.clone(), cause };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(fail)?;
        }
        let temp = temp_beside(&path);
        let file =
            File::options().read(true).write(true).create(true).truncate(true).open(&temp).map_err(fail)?;
        Ok(EntryWriter { path, temp, file, hasher: Sha256::new() })
    }

    /// The importance of a file's parts by these statistics, computed if it is not kept yet.
    pub(super) fn importance(
        &self,
        gguf: &Gguf,
        stats: &ActivationStats,
        compute: impl FnOnce() -> Result<Importance, CompressError>,
    ) -> Result<Importance, CompressError> {
        let mut key = Sha256::new();
        key.update(b"autotune importance 2\0");
        key.update(identity(gguf)?);
        for (name, squares) in &stats.mean_square {
            key.update(name.as_bytes());
            key.update([0]);
            squares.iter().for_each(|v| key.update(v.to_le_bytes()));
        }
        for list in [&stats.layer_cosine, &stats.stream_square] {
            key.update((list.len() as u64).to_le_bytes());
            list.iter().for_each(|v| key.update(v.to_le_bytes()));
        }
        let path = self.dir.join("importance").join(format!("{}.json", hex(&key.finalize()[..16])));
        if let Some(kept) = fs::read(&path).ok().and_then(|b| serde_json::from_slice(&b).ok()) {
            return Ok(kept);
        }
        let importance = compute()?;
        replace_json(&path, &importance)?;
        Ok(importance)
    }

    /// Removes what interrupted builds left behind, and the entries that were longest unused until at most `limit` bytes are left. Returns
    /// the bytes removed.
    pub(super) fn sweep(&self, limit: u64) -> Result<u64, CompressError> {
        let root = self.dir.join("tensors");
        let mut files = list(&root).map_err(|cause| CompressError::Cache { path: root, cause })?;
        files.sort_by_key(|f| f.changed);
        let (parts, entries): (Vec<_>, Vec<_>) = files.into_iter().partition(|f| f.is_part());
        let left = SystemTime::now().checked_sub(LEFT_BEHIND).unwrap_or(UNIX_EPOCH);
        let abandoned = parts.into_iter().filter(|f| f.changed < left);
        let total: u64 = entries.iter().map(|f| f.bytes).sum();
        let mut excess = total.saturating_sub(limit);
        let unused = entries.into_iter().take_while(|f| {
            let go = excess > 0;
            excess = excess.saturating_sub(f.bytes);
            go
        });
        let mut removed = 0;
        for file in abandoned.chain(unused) {
            match fs::remove_file(&file.path) {
                // Another sweeper was faster.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(cause) => return Err(CompressError::Cache { path: file.path, cause }),
                Ok(()) => removed += file.bytes,
            }
        }
        Ok(removed)
    }
}

/// A file of the cache.
struct CacheFile {
    changed: SystemTime,
    bytes: u64,
    path: PathBuf,
}

impl CacheFile {
    fn is_part(&self) -> bool {
        self.path.extension().is_some_and(|e| e == "part")
    }
}

fn list(root: &Path) -> io::Result<Vec<CacheFile>> {
    let mut found = Vec::new();
    for folder in fs::read_dir(root)? {
        for entry in fs::read_dir(folder?.path())? {
            let entry = entry?;
            // A file that vanishes under us is no file.
            let Ok(meta) = entry.metadata() else { continue };
            let changed = meta.modified().unwrap_or(UNIX_EPOCH);
            found.push(CacheFile { changed, bytes: meta.len(), path: entry.path() });
        }
    }
    Ok(found)
}

fn replace_json(path: &Path, value: &impl serde::Serialize) -> Result<(), CompressError> {
    let fail = |cause: io::Error| CompressError::Cache { path: path.to_owned(), cause };
    let bytes = serde_json::to_vec(value).map_err(|e| fail(e.into()))?;
    atomic_file::write(path, &bytes).map_err(fail)
}

/// A hash of a file's path, length and time of change: the same as long as nobody touches the file.
fn identity(gguf: &Gguf) -> Result<Hash, CompressError> {
    let fail = |cause| CompressError::Io { path: gguf.path().to_owned(), cause };
    let path = gguf.path().canonicalize().map_err(fail)?;
    let meta = gguf.file().metadata().map_err(fail)?;
    let changed = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    let mut h = Sha256::new();
    h.update(path.as_os_str().as_encoded_bytes());
    h.update([0]);
    h.update(meta.len().to_le_bytes());
    h.update(changed.as_nanos().to_le_bytes());
    Ok(h.finalize().into())
}

/// An entry in the making; dropped unfinished, it leaves nothing.
#[derive(Debug)]
pub(super) struct EntryWriter {
    path: PathBuf,
    temp: PathBuf,
    file: File,
    hasher: Sha256,
}

impl EntryWriter {
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), CompressError> {
        self.hasher.update(bytes);
        self.file.write_all(bytes).map_err(|cause| CompressError::Cache { path: self.path.clone(), cause })
    }

    pub(super) fn finish(mut self) -> Result<Entry, CompressError> {
        let hash: Hash = self.hasher.finalize_reset().into();
        let fail = |cause| CompressError::Cache { path: self.path.clone(), cause };
        self.file.write_all(&hash).map_err(fail)?;
        // Not synced: its hash is checked when it is read, and it can be made again.
        fs::rename(&self.temp, &self.path).map_err(fail)?;
        let file = self.file.try_clone().map_err(fail)?;
        Ok(Entry { file, hash })
    }
}

impl Drop for EntryWriter {
    fn drop(&mut self) {
        // After `finish` the name is gone, and this does nothing.
        let _ = fs::remove_file(&self.temp);
    }
}

/// Hashes of a source file's tensors, kept between runs.
#[derive(Debug)]
pub(super) struct SourceHashes {
    path: PathBuf,
    known: BTreeMap<String, Hash>,
    changed: bool,
}

impl SourceHashes {
    /// The hashes known of a file as it is now.
    pub(super) fn load(cache: &TensorCache, gguf: &Gguf) -> Result<Self, CompressError> {
        let name = hex(&identity(gguf)?[..16]);
        let path = cache.dir.join("sources").join(format!("{name}.json"));
        let texts: BTreeMap<String, String> =
            fs::read(&path).ok().and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default();
        let known = texts.into_iter().filter_map(|(k, v)| Some((k, unhex(&v)?))).collect();
        Ok(Self { path, known, changed: false })
    }

    /// The hash of a tensor's bytes.
    pub(super) fn get(&mut self, gguf: &Gguf, tensor: &TensorInfo) -> Result<Hash, CompressError> {
        if let Some(hash) = self.known.get(&tensor.name) {
            return Ok(*hash);
        }
        let hash = hash_tensor(gguf, tensor)?;
        self.known.insert(tensor.name.clone(), hash);
        self.changed = true;
        Ok(hash)
    }

    /// Writes what was learnt.
    pub(super) fn save(&mut self) -> Result<(), CompressError> {
        if !self.changed {
            return Ok(());
        }
        let texts: BTreeMap<&String, String> = self.known.iter().map(|(k, v)| (k, hex(v))).collect();
        replace_json(&self.path, &texts)?;
        self.changed = false;
        Ok(())
    }
}

/// The SHA-256 of a tensor's bytes, read in chunks.
pub(super) fn hash_tensor(gguf: &Gguf, tensor: &TensorInfo) -> Result<Hash, CompressError> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < tensor.bytes() {
        let n = usize::try_from(tensor.bytes() - at).unwrap_or(usize::MAX).min(buffer.len());
        gguf.read_at(tensor, at, &mut buffer[..n])?;
        hasher.update(&buffer[..n]);
        at += n as u64;
    }
    Ok(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn entries_come_back_and_wrong_ones_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let cache = TensorCache::open(dir.path()).unwrap();
        let key = [7; 32];
        assert!(cache.get(&key, 5).is_none());
        let mut w = cache.begin(&key).unwrap();
        w.write(b"hel").unwrap();
        w.write(b"lo").unwrap();
        let made = w.finish().unwrap();
        let found = cache.get(&key, 5).unwrap();
        assert_eq!(found.hash, made.hash);
        assert_eq!(hex(found.hash), hex(Sha256::digest(b"hello")));
        assert!(cache.get(&key, 4).is_none());
        drop(cache.begin(&[8; 32]).unwrap());
        assert!(cache.get(&[8; 32], 0).is_none());
    }

    fn put(cache: &TensorCache, key: u8, age_s: u64) -> PathBuf {
        let mut w = cache.begin(&[key; 32]).unwrap();
        w.write(b"hello").unwrap();
        w.finish().unwrap();
        let path = cache.path(&[key; 32]);
        let then = SystemTime::now() - Duration::from_secs(age_s);
        File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
        path
    }

    #[test]
    fn the_longest_unused_entries_go_first() {
        let dir = tempfile::tempdir().unwrap();
        let cache = TensorCache::open(dir.path()).unwrap();
        for (key, age) in [(1, 300), (2, 200), (3, 100)] {
            put(&cache, key, age);
        }
        assert_eq!(cache.sweep(3 * 37).unwrap(), 0);
        assert!(cache.get(&[1; 32], 5).is_some(), "used just now");
        assert_eq!(cache.sweep(2 * 37).unwrap(), 37);
        assert!(cache.get(&[2; 32], 5).is_none());
        assert!(cache.get(&[1; 32], 5).is_some() && cache.get(&[3; 32], 5).is_some());
    }

    #[test]
    fn the_rubbish_of_dead_builders_goes_and_the_living_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let cache = TensorCache::open(dir.path()).unwrap();
        let old = put(&cache, 1, 7200);
        fs::rename(&old, old.with_extension("1-1.part")).unwrap();
        let living = cache.begin(&[2; 32]).unwrap();
        assert_eq!(cache.sweep(0).unwrap(), 37);
        living.finish().unwrap();
        assert!(cache.get(&[2; 32], 0).is_some());
    }

    #[test]
    fn hexadecimal_is_read_back() {
        let hash: Hash = Sha256::digest(b"x").into();
        assert_eq!(unhex(&hex(hash)), Some(hash));
        assert_eq!(unhex("zz"), None);
        assert_eq!(unhex("é"), None);
    }
}
