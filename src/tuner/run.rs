//! A study that runs: what its trials need is prepared, the loop goes over the candidates, the recommended ones are re-measured.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::commands;
use super::graders::Graders;
use super::parts::{energy_unmeasurable, problem};
use crate::host::HostInfo;
use crate::host::identity::Guard;
use crate::report;
use crate::search::SamplerKind;
use crate::space::Space;
use crate::store::{Store, StudyRecord, StudyState};
use crate::study::confirm;
use crate::study::confirm::Confirmation;
use crate::study::estimates::Known;
use crate::study::kit::Kit;
use crate::study::prepare::Preparation;
use crate::study::sensitivity::Probing;
use crate::study::{
    Event, Observer, ReferenceGrading, Settings, Stopped, Study, StudyContext, StudyEnd, TaskGrading,
    Unusable, importance, region,
};
use crate::worker::fault::told;
use crate::worker::supervisor::Supervisor;

/// Artifacts may take this share of the disk that is free when the study begins.
const DISK_SHARE: f64 = 0.25;

/// What is done with a study.
type Body<'b, T, O> = &'b mut dyn FnMut(&Study<'_>, &mut TaskGrading<'static>, &mut O) -> anyhow::Result<T>;

/// A study with its surroundings, ready to run.
pub(crate) struct Run<'a> {
    pub(crate) store: &'a Store,
    pub(crate) record: &'a StudyRecord,
    pub(crate) settings: &'a Settings,
    pub(crate) space: &'a Space,
    pub(crate) kit: &'a dyn Kit,
    pub(crate) host: &'a HostInfo,
    pub(crate) results: &'a Path,
    /// The files that must stay as they are.
    pub(crate) guard: Arc<Guard>,
    /// Whether the study's own sampler chooses what is tried, by models.
    pub(crate) searches: bool,
}

impl Run<'_> {
    /// Runs the study until there is a reason to stop, and writes the report. `cancelled` is polled often; when it is true the study pauses
    /// for the reason that `why` gives.
    ///
    /// # Errors
    /// The model proved unusable, or the database, the disk or the judge broke; what was finished is durable.
    pub(crate) fn go<O: Observer>(
        &self,
        graders: Graders,
        cancelled: &dyn Fn() -> bool,
        why: &dyn Fn() -> String,
        observer: &mut O,
    ) -> anyhow::Result<StudyEnd> {
        let id = self.record.id;
        self.store.set_study_state(id, StudyState::Running, None)?;
        let ended = self.record.trials.iter().filter(|(s, _)| s.is_ended()).map(|(_, n)| n).sum();
        observer.hear(&Event::StudyStarted {
            study: self.record.root.0,
            name: self.record.name.clone(),
            points: self.space.size().to_string(),
            ended,
        });
        if self.settings.battery_wh.is_some() && energy_unmeasurable(self.settings.engine) {
            let text =
                "energy is not measurable here, so the share of the battery is not reported".to_owned();
            observer.hear(&Event::Remark { text });
        }
        if let Some(tasks) = graders.checked {
            observer.hear(&Event::TasksChecked { tasks });
        }
        for text in graders.left_out {
            observer.hear(&Event::Remark { text });
        }
        let end = match self.run(graders.grading, cancelled, observer) {
            Ok(StudyEnd::Paused(_)) if cancelled() => StudyEnd::Paused(why()),
            Ok(end) => end,
            Err(error) if error.is::<Stopped>() => StudyEnd::Paused(why()),
            Err(error) if error.is::<Unusable>() => {
                // No resume could go further: the model itself is wrong.
                self.store.set_study_state(id, StudyState::Finished, Some(&told(&error)))?;
                return Err(error);
            }
            Err(error) => {
                // What broke the study may refuse this, too; the first error is the one to report.
                let _ = self.store.set_study_state(id, StudyState::Paused, Some(&told(&error)));
                let resume = commands::resume(self.record.root, self.results, None);
                let text = format!("study {} stopped; `{resume}` continues it", self.record.root.0);
                return Err(error.context(text));
            }
        };
        let (reason, paused) = match &end {
            StudyEnd::Finished(reason) => (reason.clone(), false),
            StudyEnd::Paused(reason) => (reason.clone(), true),
        };
        let state = if paused { StudyState::Paused } else { StudyState::Finished };
        self.store.set_study_state(id, state, Some(&reason))?;
        observer.hear(&Event::StudyEnded { reason, paused });
        self.tell_why()?;
        report::write(self.store, id, &self.report_path())?;
        Ok(end)
    }

    /// Keeps for the report what moved the objectives, and the region that was searched.
    fn tell_why(&self) -> anyhow::Result<()> {
        let trials = self.store.trials(self.record.id)?;
        let known = Known::load(self.store, self.record.id)?;
        if let Some(found) = importance(self.record, &trials, &known)? {
            self.store.save_note(self.record.id, report::IMPORTANCE_NOTE, &serde_json::to_string(&found)?)?;
        }
        let bounds = region(self.record, &trials, &known)?;
        Ok(self.store.save_note(self.record.id, report::REGION_NOTE, &serde_json::to_string(&bounds)?)?)
    }

    fn run<O: Observer>(
        &self,
        grading: TaskGrading<'static>,
        cancelled: &dyn Fn() -> bool,
        progress: &mut O,
    ) -> anyhow::Result<StudyEnd> {
        let begun = Instant::now();
        let report = &self.report_path();
        // A folder that cannot be written is known now, not after the first trial.
        report::write(self.store, self.record.id, report)?;
        self.with_study(grading, cancelled, progress, &mut |study, grading, progress| {
            let end = study
                .run(begun, grading, progress, &mut |store| Ok(report::write(store, study.cx.id, report)?))?;
            if !cancelled() {
                let confirmation = Confirmation { cx: study.cx, prepared: study.prepared };
                let time = match self.settings.time_s.map(Duration::from_secs) {
                    Some(limit) => {
                        limit.saturating_sub(begun.elapsed()).min(confirm::reserve(Duration::MAX / 2))
                    }
                    None => confirm::reserve(Duration::MAX / 2),
                };
                let again = study
                    .with_whole_artifacts(&report::to_recheck(study.cx.store, study.cx.id)?, progress)?;
                confirmation.run(&again, time, progress)?;
            }
            Ok(end)
        })
    }

    /// Prepares what the trials need, and hands the study to `body`.
    pub(crate) fn with_study<T, O: Observer>(
        &self,
        mut grading: TaskGrading<'static>,
        cancelled: &dyn Fn() -> bool,
        progress: &mut O,
        body: Body<'_, T, O>,
    ) -> anyhow::Result<T> {
        let supervisor =
            Supervisor::of_this_program()?.on(self.settings.device).guarded_by(Arc::clone(&self.guard));
        let cx = StudyContext {
            store: self.store,
            id: self.record.id,
            settings: self.settings,
            kit: self.kit,
            supervisor: &supervisor,
            results: self.results,
            threads: self.host.usable_threads(),
            machine_bytes: self.host.usable_bytes(),
            cancelled,
        };
        let problem = problem(self.settings, self.space, self.kit, self.host);
        let prepared = Preparation { cx }.run(progress)?;
        let disk = self.host.disk.as_ref().map_or(u64::MAX, |d| d.free_bytes);
        let reference = ReferenceGrading { cx, problem: &problem, prepared: &prepared };
        reference.run(report::REFERENCE_NOTE, &mut grading, progress)?;
        // Candidates that another program gives need none.
        let sensitivities = if self.searches && self.settings.sampler == SamplerKind::Autotune {
            Probing { cx, space: self.space, prepared: &prepared }.run(progress)?
        } else {
            None
        };
        let problem = problem.with_sensitivities(sensitivities);
        let study = Study {
            cx,
            prepared: &prepared,
            problem: &problem,
            artifact_bytes: (disk as f64 * DISK_SHARE) as u64,
        };
        body(&study, &mut grading, progress)
    }

    pub(crate) fn report_path(&self) -> PathBuf {
        report::default_path(&self.settings.reports, &self.record.name)
    }
}
