//! The uncompressed model's own verdicts, where it is no trial because it does not fit the budget: what "lost 3 of 41 solved tasks" counts from.

use std::time::Duration;

use super::context::StudyContext;
use super::event::{Event, Observer};
use super::grading::Grading;
use super::prepare::{Prepared, grading_run};
use super::presets;
use super::problem::StudyProblem;
use autotune_core::space::{Config, KvType};
use autotune_core::units::Bytes;
use autotune_engine::generate::{Generation, Prompt};
use autotune_quality::tasks::Task;
use autotune_store::{Origin, Verdicts};
use autotune_worker::protocol::{Job, Message};
use autotune_worker::supervisor::Limits;

/// What grading the uncompressed model needs, borrowed from the study.
pub struct ReferenceGrading<'a> {
    /// The study's surroundings.
    pub cx: StudyContext<'a>,
    /// The model, the budget, what is predicted.
    pub problem: &'a StudyProblem<'a>,
    /// What was prepared.
    pub prepared: &'a Prepared,
}

impl ReferenceGrading<'_> {
    /// Grades the uncompressed model once for a study in which it cannot be a trial, and keeps its verdicts under `note`. A model that
    /// cannot be graded here is reported and left out: the study continues without relative quality.
    ///
    /// # Errors
    /// The user stopped, the database broke, or the judge did.
    pub fn run(
        &self,
        note: &str,
        grading: &mut dyn Grading,
        observer: &mut dyn Observer,
    ) -> anyhow::Result<()> {
        let Some(bytes) = self.uncompressed_bytes() else { return Ok(()) };
        if bytes <= self.cx.settings.budget_bytes || self.cx.store.note(self.cx.id, note)?.is_some() {
            return Ok(());
        }
        if bytes > self.cx.machine_bytes {
            let text = format!(
                "the uncompressed model would need {}, more than this machine has: quality relative to it is not reported",
                Bytes(bytes)
            );
            observer.hear(&Event::Remark { text });
            return Ok(());
        }
        observer.hear(&Event::Preparing { what: "the verdicts of the uncompressed model".to_owned() });
        let generations = match self.generate(grading.prompts(), grading.tasks(), observer)? {
            Ok(generations) => generations,
            Err(reason) => {
                let text = format!(
                    "the uncompressed model was not graded ({reason}): quality relative to it is not reported"
                );
                observer.hear(&Event::Remark { text });
                return Ok(());
            }
        };
        let graded = grading.grade(&generations)?;
        let verdicts: Verdicts =
            graded.generations.iter().filter_map(|g| Some((g.task.clone(), g.passed()?))).collect();
        self.cx.store.save_note(self.cx.id, note, &serde_json::to_string(&verdicts)?)?;
        Ok(())
    }

    /// Predicted peak of the uncompressed model as a trial.
    fn uncompressed_bytes(&self) -> Option<u64> {
        let threads = self.problem.ceilings.threads;
        let (_, candidate) = presets::candidates(self.problem.kit, &self.problem.workload, threads, 0)
            .into_iter()
            .find(|(name, _)| Origin::preset(name).is_uncompressed())?;
        Some(self.problem.foresee(&Config::from_candidate(&candidate).ok()?)?.peak_bytes)
    }

    /// Greedy answers to all prompts, or why there are none.
    fn generate(
        &self,
        prompts: &[Prompt],
        tasks: Vec<Task>,
        observer: &mut dyn Observer,
    ) -> anyhow::Result<Result<Vec<Generation>, String>> {
        let greedy = |p: &Prompt| Prompt { known: None, draws: None, ..p.clone() };
        let job = Job::Assess {
            engine: self.problem.kit.engine(),
            artifact: self.prepared.materials.reference.clone(),
            run: grading_run(self.problem.ceilings.threads, KvType::F16, KvType::F16, false),
            reference: None,
            prompts: prompts.iter().map(greedy).collect(),
            tasks,
        };
        let limits = Limits {
            time: Duration::from_secs(self.cx.settings.rung_timeout_s),
            memory_bytes: Some(self.cx.machine_bytes),
        };
        let (mut generations, total) = (Vec::new(), prompts.len() as u64);
        let outcome = self.cx.supervisor.run(&job, &limits, self.cx.cancelled, &mut |message| {
            if let Message::Generated(generation) = message {
                generations.push(generation);
                let done = generations.len() as u64;
                observer.hear(&Event::Progress { trial: 0, what: "tasks".to_owned(), done, total });
            }
        })?;
        if let Some(warning) = outcome.warning {
            observer.hear(&Event::Remark { text: format!("the uncompressed model: {warning}") });
        }
        let ended = super::done_or_why(outcome.end, "grade the uncompressed model")?;
        Ok(ended.and_then(|()| match generations.len() as u64 == total {
            true => Ok(generations),
            false => Err(format!("{} of {total} tasks were continued", generations.len())),
        }))
    }
}
