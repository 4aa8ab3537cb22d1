//! What a study grades with: the tasks, and the sandbox that judges those that can be executed here.

use super::exit::Expected;
use crate::engine::draw::Draws;
use crate::fault::told;
use crate::quality::codebleu::Language;
use crate::quality::sandbox::{self, Mode, Sandbox, SandboxError};
use crate::quality::tasks::{self, Task};
use crate::study::{Quality, Settings, TaskGrading};

/// The tasks with their judge, and what the user should know: why some were left out, what protection is missing.
pub(super) struct Graders {
    pub(super) grading: TaskGrading<'static>,
    pub(super) left_out: Vec<String>,
}

impl Graders {
    /// Loads the tasks. Those of a language that is never executed are graded by CodeBLEU and syntax, where they bring a solution to compare
    /// with; those whose interpreter is missing are left out.
    ///
    /// # Errors
    /// There are no tasks, none can be graded, none can be executed though the study goes by pass@k, or no sandbox is to be had.
    pub(super) fn new(settings: &Settings) -> anyhow::Result<Self> {
        let (graders, executed) =
            Self::of(&settings.tasks, settings.task_limit, settings.sandbox, settings.draws)?;
        if !executed && matches!(settings.quality, Quality::Pass1 | Quality::Pass10) {
            let text = format!(
                "--tasks {}: none of these tasks is in a language that is executed, so there is no pass@k; write --quality codebleu",
                settings.tasks
            );
            return Err(Expected::usage(text).into());
        }
        Ok(graders)
    }

    /// As [`Graders::new`], of so many tasks of a set (0: all); also whether any of them is executed.
    ///
    /// # Errors
    /// As [`Graders::new`].
    pub(super) fn of(
        tasks: &str,
        task_limit: usize,
        mode: Mode,
        draws: Option<Draws>,
    ) -> anyhow::Result<(Self, bool)> {
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
        let compared =
            |task: &Task| task.canonical.is_some() && task.language_name.parse::<Language>().is_ok();
        set.tasks.retain(|task| match judge.interpreter(task.language) {
            Err(SandboxError::NotExecuted { .. }) if compared(task) => true,
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
        let left_out: Vec<String> = left_out.chain(unprotected).collect();
        spread(&mut set.tasks, task_limit);
        if set.tasks.is_empty() {
            return Err(Expected::environment("none of the tasks can be graded on this machine").into());
        }
        let unexecuted = set.tasks.iter().filter(|task| !task.language.is_executed()).count();
        let told = (unexecuted > 0).then(|| {
            format!(
                "{unexecuted} of {} tasks are in languages that are not executed: they are graded by CodeBLEU and syntax, and count in no pass@k",
                set.tasks.len()
            )
        });
        let executed = unexecuted < set.tasks.len();
        let left_out = told.into_iter().chain(left_out).collect();
        Ok((Self { grading: TaskGrading::new(set, Box::new(judge), draws), left_out }, executed))
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
