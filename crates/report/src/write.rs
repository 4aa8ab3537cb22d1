//! Writing a file so that a reader never sees half of it.

use std::path::{Path, PathBuf};

use super::{Analysis, Overlay, ReportError, Result, file_stem, page};
use autotune_core::atomic_file;
use autotune_store::{Store, StudyId};

/// Writes the page of a study to a file, creating its folder. The file is replaced in one step: who reads meanwhile sees the old or the new.
///
/// # Errors
/// The store cannot be read, or the file cannot be written (an earlier one then stays as it was).
pub fn write(store: &Store, study: StudyId, out: &Path) -> Result<()> {
    let analysis = Analysis::load_in_depth(store, study)?;
    let html = page::render(&analysis, &Overlay::earlier(store, &analysis)?, page::Live::No)?;
    replace_file(out, html.as_bytes()).map_err(|source| ReportError::Write { path: out.to_owned(), source })
}

/// Default path of the report of a study: `reports/<name>.html`.
#[must_use]
pub fn default_path(reports: &Path, study_name: &str) -> PathBuf {
    reports.join(format!("{}.html", file_stem(study_name)))
}

/// Writes a file in one step: a reader sees the old content or the new. Creates its folder.
///
/// # Errors
/// The file cannot be written; an earlier one then stays as it was.
pub fn replace_file(out: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if out.file_name().is_none() {
        return Err(std::io::Error::other("it is not a file name"));
    }
    if out.is_dir() {
        return Err(std::io::Error::other("it is a folder; name a file in it"));
    }
    if let Some(folder) = out.parent().filter(|f| !f.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    atomic_file::write(out, bytes)
}
