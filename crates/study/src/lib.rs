//! The loop that takes candidates through the stages. Depends on every crate below it, and not on the terminal.

mod alike;
mod artifacts;
pub mod confirm;
mod context;
mod early;
pub mod estimates;
mod event;
mod generated;
mod grading;
mod halt;
mod importance;
mod kept;
pub mod kit;
mod learn;
mod lessons;
pub mod metrics;
pub mod predict;
pub mod preflight;
pub mod prepare;
pub mod presets;
mod problem;
pub mod rates;
mod recover;
mod reference;
mod remeasure;
mod repeat;
mod run;
pub mod sensitivity;
mod settings;
mod stored;
mod tasks;
mod trial;
mod twin;
mod verdicts;

pub use alike::leave_out_alike;
pub use artifacts::{artifact_key, clear_leftovers, sweep};
pub use context::StudyContext;
pub use early::Early;
pub use event::{Event, Observer};
pub use grading::{Graded, Grading};
pub use importance::{Importance, ObjectiveImportance, ParameterImportance, importance};
pub use kept::Kept;
pub use learn::Correction;
pub use predict::Speed;
pub use preflight::{Preflight, Unusable};
pub use problem::{Bounds, Ceilings, Cost, Floor, Quality, StudyProblem, objectives};
pub use reference::ReferenceGrading;
pub use run::{Study, StudyEnd, Unmet, check_budget, describe};
pub use settings::{DEFAULT_TIME, ImportanceBy, RecoveryText, Scaling, Settings};
pub use stored::{RegionBound, StoredProblem, region};
pub use tasks::TaskGrading;
pub use trial::Climb;

use autotune_worker::supervisor::End;

/// The machine lacks something that a step needs: disk space, a permission. No trial is to blame; a resume may find it mended.
#[derive(Clone, Debug, thiserror::Error)]
#[error("failed to {step}: {reason}; everything finished so far is kept")]
pub struct MachineFault {
    /// What was being done, as it follows "failed to".
    pub step: String,
    /// What the machine said.
    pub reason: String,
}

/// What the end of a job means that no trial is to blame for: it is done, or why it is not, in words. `step` follows "failed to".
fn done_or_why(end: End, step: &str) -> anyhow::Result<Result<(), String>> {
    match end {
        End::Done => Ok(Ok(())),
        End::Cancelled => Err(Stopped.into()),
        End::Refused(reason) => Err(MachineFault { step: step.to_owned(), reason }.into()),
        End::Failed(error) | End::Crashed(error) => Ok(Err(error)),
        End::TimedOut => Ok(Err("it took too long".to_owned())),
        End::OverMemory => Ok(Err("the machine has not enough memory".to_owned())),
    }
}

/// The user stopped the study; finished work is durable.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("stopped by the user")]
pub struct Stopped;
