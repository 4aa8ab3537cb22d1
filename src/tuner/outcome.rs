//! The end of a study: its front, the recommended trials, and all others.

use std::path::PathBuf;

use super::begin::Begun;
use super::graders::Graders;
use crate::report::{Analysis, Recommendation};
use crate::store::{StudyId, TrialRecord};
use crate::study::{Observer, StudyEnd};

/// A study that ended, analysed.
#[derive(Debug)]
pub struct TuningOutcome {
    /// The study in the database of the results folder.
    pub study: StudyId,
    /// Whether it is finished or paused, and why.
    pub end: StudyEnd,
    /// The HTML report.
    pub report: PathBuf,
    /// Everything that the report says.
    pub analysis: Analysis,
}

impl TuningOutcome {
    /// All trials, by number.
    #[must_use]
    pub fn trials(&self) -> &[TrialRecord] {
        &self.analysis.trials
    }

    /// The trials that no other one surpasses in all objectives, in the order of the first objective.
    pub fn front(&self) -> impl Iterator<Item = &TrialRecord> {
        self.recommendation().front.iter().filter_map(|number| self.analysis.trial(*number))
    }

    /// The recommended trials, with the reasons.
    #[must_use]
    pub fn recommendation(&self) -> &Recommendation {
        &self.analysis.recommendation
    }
}

impl Begun {
    /// Runs the study and analyses it.
    pub(super) fn finish<O: Observer>(
        self,
        graders: Graders,
        cancelled: &dyn Fn() -> bool,
        observer: &mut O,
    ) -> anyhow::Result<TuningOutcome> {
        let run = self.run();
        let end = run.go(graders, cancelled, &|| "stopped by the caller".to_owned(), observer)?;
        let analysis = Analysis::load(&self.store, self.record.id)?;
        Ok(TuningOutcome { study: self.record.root, end, report: run.report_path(), analysis })
    }
}
