//! What a study grades with: the tasks that can be executed here, and the sandbox that judges them.

use super::exit::Expected;
use crate::engine::draw::Draws;
use crate::fault::told;
use crate::quality::sandbox::{self, Mode, Sandbox, SandboxError};
use crate::quality::tasks;
use crate::study::{Settings, TaskGrading};

/// The tasks with their judge, and what the user should know: why some were left out, what protection is missing.
pub(super) struct Graders {
    pub(super) grading: TaskGrading<'static>,
    pub(super) left_out: Vec<String>,
}

impl Graders {
    /// Loads the tasks; those of a language that cannot be executed here are left out.
    ///
    /// # Errors
    /// There are no tasks, none can be executed, or no sandbox is to be had.
    pub(super) fn new(settings: &Settings) -> anyhow::Result<Self> {
        Self::of(&settings.tasks, settings.task_limit, settings.sandbox, settings.draws)
    }

    /// As [`Graders::new`], of so many tasks of a set (0: all).
    ///
    /// # Errors
    /// As [`Graders::new`].
    pub(super) fn of(
        tasks: &str,
        task_limit: usize,
        mode: Mode,
        draws: Option<Draws>,
    ) -> anyhow::Result<Self> {
        let mut set =
            tasks::load(tasks, 0).map_err(|e| Expected::usage(format!("--tasks: {}", told(&e.into()))))?;
        let sandbox_settings = sandbox::Settings { mode, ..sandbox::Settings::default() };
        let refused = |e: SandboxError| Expected::environment(e.to_string());
        let mut judge = Sandbox::new(sandbox_settings).map_err(refused)?;
        let unprotected = match judge.layers() {
            layers if layers.is_strict() => None,
            layers => Some(format!("warning: model-written code runs without {}", layers.missing())),
        };
        let mut left_out: Vec<String> = Vec::new();
        set.tasks.retain(|task| match judge.interpreter(task.language) {
            Ok(_) => true,
            Err(error) => {
                let text = error.to_string();
                if !left_out.contains(&text) {
                    left_out.push(text);
                }
                false
            }
        });
        let left_out = left_out.into_iter().map(|text| format!("tasks left out: {text}"));
        let left_out = left_out.chain(unprotected).collect();
        spread(&mut set.tasks, task_limit);
        if set.tasks.is_empty() {
            return Err(Expected::environment("none of the tasks can be executed on this machine").into());
        }
        Ok(Self { grading: TaskGrading::new(set, Box::new(judge), draws), left_out })
    }
}

/// Keeps `most` items, evenly spread, so that every part of a graded set is still there; 0 keeps all.
fn spread<T>(items: &mut Vec<T>, most: usize) {
    let n = items.len();
    if most == 0 || n <= most {
        return;
    }
    let mut index = 0;
    items.retain(|_| {
        let keep = (index + 1) * most / n > index * most / n;
        index += 1;
        keep
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_tasks_is_spread_over_the_set() {
        let mut items: Vec<usize> = (0..100).collect();
        spread(&mut items, 60);
        assert_eq!(items.len(), 60);
        assert!(items.windows(2).all(|w| w[1] - w[0] <= 2), "{items:?}");
        let mut few = vec![1, 2];
        spread(&mut few, 60);
        assert_eq!(few, [1, 2]);
    }
}
