//! Ceilings kept between runs: a small JSON file for each fingerprint.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::info::Ceilings;

/// Raised whenever the loops or the file change, so that old figures are measured again.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Kept {
    format: u32,
    fingerprint: String,
    ceilings: Ceilings,
}

/// The file of a machine. Builds without optimization measure other ceilings, and keep them apart.
pub(crate) fn file(folder: &Path, fingerprint: &str) -> PathBuf {
    let build = if cfg!(debug_assertions) { "-debug" } else { "" };
    folder.join(format!("ceilings-{fingerprint}{build}.json"))
}

/// The ceilings kept for a machine; none when there are none, or none that can be believed.
pub(crate) fn load(folder: &Path, fingerprint: &str, threads: u32) -> Option<Ceilings> {
    let text = fs::read_to_string(file(folder, fingerprint)).ok()?;
    let kept: Kept = serde_json::from_str(&text).ok()?;
    let Ceilings {
        read_bytes_per_s,
        read_bytes_per_s_one_thread,
        multiply_add_flop_per_s,
        multiply_add_flop_per_s_one_thread,
        ..
    } = kept.ceilings;
    let rates = [
        read_bytes_per_s,
        read_bytes_per_s_one_thread,
        multiply_add_flop_per_s,
        multiply_add_flop_per_s_one_thread,
    ];
    let sound = kept.format == FORMAT
        && kept.fingerprint == fingerprint
        && kept.ceilings.threads == threads
        && rates.iter().all(|rate| rate.is_finite() && *rate > 0.0);
    sound.then_some(Ceilings { from_cache: true, ..kept.ceilings })
}

/// Keeps ceilings, in one step: another process sees the old file or the new one.
pub(crate) fn save(folder: &Path, fingerprint: &str, ceilings: &Ceilings) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let kept = Kept { format: FORMAT, fingerprint: fingerprint.to_owned(), ceilings: ceilings.clone() };
    let target = file(folder, fingerprint);
    autotune_core::atomic_file::write(&target, serde_json::to_string_pretty(&kept)?.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ceilings() -> Ceilings {
        Ceilings {
            threads: 2,
            read_bytes_per_s: 3e10,
            read_bytes_per_s_one_thread: 2e10,
            multiply_add_flop_per_s: 2e11,
            multiply_add_flop_per_s_one_thread: 1e11,
            multiply_add_isa: "avx2+fma".into(),
            buffer_bytes: 1,
            measured_unix_s: 1,
            load_before: Some(0.1),
            from_cache: false,
        }
    }

    #[test]
    fn what_is_kept_comes_back_marked() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        assert_eq!(load(&inner, "f", 2), None);
        save(&inner, "f", &ceilings()).unwrap();
        assert_eq!(load(&inner, "f", 2), Some(Ceilings { from_cache: true, ..ceilings() }));
        assert_eq!(load(&inner, "g", 2), None, "another machine");
        assert_eq!(load(&inner, "f", 4), None, "other threads");
        assert_eq!(fs::read_dir(&inner).unwrap().count(), 1, "no draft stays");
    }

    #[test]
    fn broken_files_are_ignored_and_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let negative = Ceilings { read_bytes_per_s: -1.0, ..ceilings() };
        save(folder.path(), "f", &negative).unwrap();
        assert_eq!(load(folder.path(), "f", 2), None);
        let path = file(folder.path(), "f");
        let newer = fs::read_to_string(&path).unwrap().replace("\"format\": 1", "\"format\": 99");
        for text in ["", "{", "[]", "null", &newer] {
            fs::write(&path, text).unwrap();
            assert_eq!(load(folder.path(), "f", 2), None, "{text}");
        }
        save(folder.path(), "f", &ceilings()).unwrap();
        assert!(load(folder.path(), "f", 2).is_some());
    }

    #[test]
    fn a_folder_that_is_a_file_is_an_error_not_a_panic() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(save(file.path(), "f", &ceilings()).is_err());
        assert_eq!(load(file.path(), "f", 2), None);
    }
}
