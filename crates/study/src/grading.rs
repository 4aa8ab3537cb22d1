//! The seam to the graders: prompts out, verdicts in. The study does not know how code is judged.

use autotune_engine::generate::{Generation, Prompt};
use autotune_quality::tasks::Task;
use autotune_store::{NewGeneration, NewMeasurement};

/// Tasks with a judge.
pub trait Grading {
    /// What to continue, one prompt for each task.
    fn prompts(&self) -> &[Prompt];

    /// The tasks of the prompts, by which their languages decide whether a stop text ends a continuation; those that are missing end at
    /// the first one.
    fn tasks(&self) -> Vec<Task> {
        Vec::new()
    }

    /// Judges the continuations of all tasks.
    ///
    /// # Errors
    /// The judge itself failed (no interpreter, no sandbox); a program that fails is a verdict.
    fn grade(&mut self, generations: &[Generation]) -> anyhow::Result<Graded>;
}

/// What the judge found.
#[derive(Clone, Debug, Default)]
pub struct Graded {
    /// Every completion with its verdict.
    pub generations: Vec<NewGeneration>,
    /// pass@1 and its relatives.
    pub measurements: Vec<NewMeasurement>,
    /// For the progress line.
    pub summary: String,
}
