//! The report, the exports and the listings of a seeded study, as a user gets them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

#[path = "support/fake_study.rs"]
mod fake_study;

use std::path::{Path, PathBuf};

use autotune::report::{self, Analysis, Outcome, Title};
use autotune::store::{DATABASE_FILE, Store, StudyId};

/// A results folder with one study of eight presets and thirty-two found candidates.
fn results() -> (tempfile::TempDir, StudyId) {
    let folder = tempfile::tempdir().unwrap();
    let store = fake_study::store(&folder.path().join(DATABASE_FILE));
    let study = fake_study::fill(&store, "smollm2", 32, 90);
    (folder, study)
}

fn open(folder: &tempfile::TempDir) -> Store {
    Store::open_existing(&folder.path().join(DATABASE_FILE)).unwrap()
}

fn written(folder: &tempfile::TempDir, study: StudyId) -> (PathBuf, String) {
    let out = folder.path().join("report.html");
    report::write(&open(folder), study, &out).unwrap();
    let html = std::fs::read_to_string(&out).unwrap();
    (out, html)
}

#[test]
fn show() {
    let (folder, study) = results();
    let (_, html) = written(&folder, study);
    std::fs::write("/tmp/report.html", html).unwrap();
    println!("{}", report::front_rows(&open(&folder), study).unwrap().lines().join("\n"));
}
