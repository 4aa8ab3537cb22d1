//! Files in the making: names that nobody else uses, space, and what killed writers leave behind.

#[cfg(feature = "llama")]
use std::fs;
use std::fs::File;
use std::io;
#[cfg(feature = "llama")]
use std::path::Path;
#[cfg(feature = "llama")]
use std::time::Duration;

#[cfg(feature = "llama")]
use super::{Fault, GgufError};
#[cfg(all(feature = "llama", test))]
use autotune_core::atomic_file::temp_beside;

/// How long an unfinished file must lie untouched before it is taken for a dead writer's.
#[cfg(feature = "llama")]
pub const LEFT_BEHIND: Duration = Duration::from_secs(3600);

/// Removes the unfinished files of this package's writers in a folder that nobody has touched for an hour: those of killed processes. What
/// cannot be removed stays.
#[cfg(feature = "llama")]
pub fn remove_leftovers(folder: &Path) {
    let old = |meta: &fs::Metadata| {
        let age = meta.modified().ok().and_then(|t| t.elapsed().ok());
        meta.is_file() && age.is_some_and(|age| age > LEFT_BEHIND)
    };
    let Ok(files) = fs::read_dir(folder) else { return };
    for file in files.flatten() {
        if is_temp(&file.path()) && file.metadata().is_ok_and(|meta| old(&meta)) {
            let _ = fs::remove_file(file.path());
        }
    }
}

/// Whether a name has the form that [`autotune_core::atomic_file::temp_beside`] gives: `NAME.PROCESS-NUMBER.part`.
#[cfg(feature = "llama")]
fn is_temp(path: &Path) -> bool {
    let parts = path.file_name().and_then(std::ffi::OsStr::to_str).and_then(|n| n.strip_suffix(".part"));
    let number = parts.and_then(|n| n.rsplit_once('.')).and_then(|(_, number)| number.split_once('-'));
    number.is_some_and(|(process, n)| process.parse::<u32>().is_ok() && n.parse::<u64>().is_ok())
}

/// Reserves space, so that a full disk is known before the work is done. File systems that cannot are left alone.
#[cfg(target_os = "linux")]
pub(super) fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    use nix::errno::Errno;
    use nix::fcntl::{FallocateFlags, fallocate};
    let Ok(len) = i64::try_from(bytes) else { return Ok(()) };
    match fallocate(file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, len) {
        Err(e @ (Errno::ENOSPC | Errno::EFBIG | Errno::EDQUOT)) => Err(io::Error::from(e)),
        _ => Ok(()),
    }
}

/// Tells that a file of `bytes` bytes will not fit where `path` is to be: for writers that are not ours. Where the system does not tell,
/// there is space.
///
/// # Errors
/// The file system has less space left for us.
// The numbers are of 32 bits on some systems.
#[cfg(feature = "llama")]
#[allow(clippy::useless_conversion)]
pub fn check_space(path: &Path, bytes: u64) -> Result<(), GgufError> {
    #[cfg(unix)]
    if let Some(folder) = path.parent()
        && let Ok(stat) =
            nix::sys::statvfs::statvfs(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })
        && u64::from(stat.blocks_available()).saturating_mul(u64::from(stat.fragment_size())) < bytes
    {
        return Err(Fault::NoSpace { bytes }.at(path));
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn reserve(_file: &File, _bytes: u64) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, feature = "llama"))]
mod tests {
    use super::*;

    #[test]
    fn leftovers_of_the_dead_go_and_other_files_stay() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str, age_s: u64| {
            let file = File::create(dir.path().join(name)).unwrap();
            file.set_modified(std::time::SystemTime::now() - Duration::from_secs(age_s)).unwrap();
        };
        make("a.gguf.12-3.part", 7200);
        make("b.gguf.12-4.part", 60);
        make("thesis.part", 7200);
        make("c.gguf", 7200);
        remove_leftovers(dir.path());
        let mut left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["b.gguf.12-4.part", "c.gguf", "thesis.part"]);
        assert!(is_temp(&temp_beside(Path::new("x/y.gguf"))));
    }
}
