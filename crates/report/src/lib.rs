//! The output for people: the page of a study, the table at the end of a search, and exports. Reads the store only.
//!
//! [`Analysis`] reads a study once; [`recommend`](recommend()) is a pure function of its rows. Every number on the page was measured, unless
//! it says "predicted".

mod caution;
mod choice;
mod command;
mod compare;
mod detail;
mod draw;
mod export;
mod figure;
mod front;
mod gain;
pub mod handover;
mod influence;
mod judged;
mod markdown;
mod metric;
mod moved;
mod overlay;
mod page;
mod recommend;
mod relative;
mod short;
mod summary;
#[cfg(test)]
mod testing;
mod text;
pub mod validate;
mod write;

pub use command::{Commands, file_stem};
pub use compare::{SidePoint, StudyComparison, StudySide, compare_studies};
pub use detail::{Detail, LayerShape, LayerStrip};
pub use draw::{figure_png, figure_svg};
pub use export::{study_json, trial_json, trials_csv, trials_json};
pub use gain::{Comparison, PASSED, Paired, Part, Verdict};
pub use influence::{Influence, Share};
pub use judged::{Judged, write_estimates};
pub use markdown::markdown;
pub use metric::{Family, Metric, OfTrial, Reading, Unit};
pub use moved::{IMPORTANCE_NOTE, REGION_NOTE, TASKS_NOTE};
pub use overlay::Overlay;
pub use page::{Growth, Live, render};
pub use recommend::{Outcome, Pick, Recommendation, Smallest, Title, USUAL, recommend};
pub use relative::{REFERENCE_NOTE, Relative};
pub use short::Shortener;
pub use summary::{Analysis, Cell, FrontRow, FrontSummary, PickRow};
pub use text::{Align, RELATIVE_HEAD, one_line, table, titles};
pub use write::{default_path, replace_file, write};

use std::path::PathBuf;

use autotune_store::{Store, StoreError, StudyId};

/// Why a report could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stored objectives are not what this version reads.
    #[error("the objectives of study `{study}` are unreadable: {source}")]
    Objectives {
        /// The study.
        study: String,
        /// What the parser found.
        source: serde_json::Error,
    },
    /// The file could not be written.
    #[error("`{}` cannot be written: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A figure could not be drawn.
    #[error("a figure cannot be drawn: {0}")]
    Figure(String),
}

/// The result of making a report.
pub type Result<T> = std::result::Result<T, ReportError>;

/// The front and the recommended few of a study, for the table at the end of a search.
///
/// # Errors
/// The store cannot be read.
pub fn front_rows(store: &Store, study: StudyId) -> Result<FrontSummary> {
    Ok(Analysis::load(store, study)?.summary())
}

/// The trials to re-measure before they are recommended: the picks that are not presets, and the presets they are compared with.
/// Empty where every pick is a preset.
///
/// # Errors
/// The store cannot be read.
pub fn to_recheck(store: &Store, study: StudyId) -> Result<Vec<u64>> {
    let analysis = Analysis::load(store, study)?;
    let mut numbers = Vec::new();
    for pick in &analysis.recommendation.picks {
        // A preset is re-measured only if a found candidate is compared with it.
        for beside in pick.comparisons().filter(|_| pick.comparison.is_some()) {
            numbers.extend([pick.number, beside.number]);
        }
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}
