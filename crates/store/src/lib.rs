//! Everything that a study learns, in one SQLite file: durable before the next step begins, readable while a study runs,
//! shared by several processes.
//!
//! - A **study** owns **trials** (numbered from 1), key-value notes and **events**; a trial owns its finished **rungs**, their
//!   **measurements** and the **generations** that were graded.
//! - Each write is one `BEGIN IMMEDIATE` transaction with `synchronous = FULL`: after `kill -9` a rung is there whole, or not at all.
//! - A trial is worked on through a [`LiveTrial`], which names the worker; a [`TrialRecord`] is a frozen copy for readers.
//!   Once a trial has ended, triggers refuse any change to it; timed once more, its **repeats** stand beside it and are read with it.
//! - The **identity** of what the numbers depend on is kept with the study; where it changed, a new **segment** keeps them apart.
//! - A worker that died is recognised by process number, start time and boot, so that its trial can be taken up again.
//!
//! The room knows no engine and no sampler: it stores candidates, numbers and JSON texts that others understand.

mod cache;
mod error;
mod event;
mod failure;
mod migrate;
mod names;
mod open;
mod reach;
mod read;
mod real;
mod repeat;
mod rows;
mod runner;
mod salvage;
mod segment;
mod sqlite;
mod study;
#[cfg(test)]
mod testing;
mod trial;
mod vocabulary;
mod worker;

pub use autotune_core::metric::Direction;
pub use error::StoreError;
pub use event::{Disturbed, Event, EventKind, NewEvent};
pub use failure::{Failure, FailureKind};
pub use open::Store;
pub use repeat::NewRepeat;
pub use rows::{
    Added, Artifact, Asked, FinishedRung, Generation, Host, LiveTrial, Measurement, NewGeneration,
    NewMeasurement, NewStudy, NewTrial, RungRecord, StudyId, StudyRecord, TrialId, TrialRecord, Verdicts,
};
pub use salvage::{Salvaged, salvage};
pub use segment::Segment;
pub use vocabulary::{EndState, Objective, Origin, Rung, StudyState, TrialState};
pub use worker::WorkerIdentity;

/// The database's name inside the results folder.
pub const DATABASE_FILE: &str = "autotune.db";

/// The result of a store operation.
pub type Result<T> = std::result::Result<T, StoreError>;
