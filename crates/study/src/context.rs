//! The surroundings of a study: what each of its parts borrows for as long as it runs.

use std::path::Path;

use super::kit::Kit;
use super::settings::Settings;
use autotune_store::{Store, StudyId};
use autotune_worker::supervisor::Supervisor;

/// The surroundings of a study.
#[derive(Clone, Copy)]
pub struct StudyContext<'a> {
    /// The database.
    pub store: &'a Store,
    /// The study's row.
    pub id: StudyId,
    /// The study's settings.
    pub settings: &'a Settings,
    /// The model.
    pub kit: &'a dyn Kit,
    /// Runs jobs in worker processes.
    pub supervisor: &'a Supervisor,
    /// The results folder.
    pub results: &'a Path,
    /// Threads for building and grading.
    pub threads: u32,
    /// Memory of the machine that this process may use, in bytes.
    pub machine_bytes: u64,
    /// Polled often; true pauses the study.
    pub cancelled: &'a dyn Fn() -> bool,
}
