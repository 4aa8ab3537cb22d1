//! Names that carry their owner's process id, so that what a killed process left behind can be told from what is in use.

use std::{
    fs, io,
    path::Path,
    process,
    sync::atomic::{AtomicU64, Ordering},
};

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A name that no living process uses.
pub(super) fn name(prefix: &str) -> String {
    format!("{prefix}{}-{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Calls `remove` for each entry of `parent` with this prefix whose owner no longer exists.
pub(super) fn sweep(parent: &Path, prefix: &str, remove: impl Fn(&Path)) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix(prefix))
            .and_then(|rest| rest.split('-').next())
            .and_then(|pid| pid.parse::<u32>().ok());
        if let Some(pid) = owner
            && fs::metadata(format!("/proc/{pid}")).is_err_and(|e| e.kind() == io::ErrorKind::NotFound)
        {
            remove(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dead_processes_left_is_swept_and_the_rest_is_kept() {
        let parent = tempfile::tempdir().unwrap();
        let path = |name: &str| parent.path().join(name);
        let (dead, alive) = (path("x-999999999-1"), path(&super::name("x-")));
        let others = [path("x-not-a-pid"), path("y-999999999-1"), path("x-")];
        for folder in others.iter().chain([&dead, &alive]) {
            fs::create_dir(folder).unwrap();
        }
        sweep(parent.path(), "x-", |folder| fs::remove_dir(folder).unwrap());
        assert!(!dead.exists() && alive.exists() && others.iter().all(|folder| folder.exists()));
    }
}
