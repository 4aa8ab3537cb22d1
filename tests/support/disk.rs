//! A disk of a given size, for tests that fill it.
#![allow(dead_code, reason = "each test file uses a part")]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A small file system in memory, mounted on a folder until dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// None, with a note, where mounting is not allowed.
    pub fn mount(at: &Path, bytes: u64) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let size = format!("size={bytes}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output();
        if mounted.is_ok_and(|o| o.status.success()) {
            return Some(Self(at.to_owned()));
        }
        crate::bench::require::skip("small-disk", "none can be mounted here (needs root)");
        None
    }

    /// Fills the disk up to so many free bytes, rounded to pages.
    pub fn fill(&self, left: u64) {
        let mut file = File::create(self.filler()).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        let length = file.metadata().unwrap().len();
        file.set_len(length.saturating_sub(left)).unwrap();
    }

    pub fn free(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, should a process still stand in it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
