//! What a study grades with: the tasks that tell right from wrong, and the sandbox that judges those that can be executed here.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::exit::Expected;
use super::printer::Printer;
use super::task_checks;
use crate::engine::draw::Draws;
use crate::fault::told;
use crate::quality::codebleu::Language;
use crate::quality::proof::{Proof, Summary};
use crate::quality::sandbox::{self, Mode, Sandbox, SandboxError};
use crate::quality::tasks::{self, Refusal, Task, TaskLanguage, TaskSet};
use crate::store::{Store, StudyId};
use crate::study::{Quality, Settings, TaskGrading};

/// The note of a study that names the tasks which it is graded by.
const TASKS_NOTE: &str = "graded_tasks";

/// The tasks with their judge, and what the user should know: why some were left out, what protection is missing.
pub(super) struct Graders {
    pub(super) grading: TaskGrading<'static>,
    pub(super) left_out: Vec<String>,
    /// Which tasks tell right from wrong; nothing where a study goes on with those that it was begun with.
    pub(super) checked: Option<Summary>,
    /// The tasks that are graded by.
    graded: GradedTasks,
    /// Whether any of them is executed.
    executed: bool,
}

/// The tasks of a study, and the interpreters that they were checked with: a resumed study is graded by the same tasks as long as these are
/// the same, whether or not the machine is too busy by then for a slow one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct GradedTasks {
    ids: Vec<String>,
    interpreters: Vec<(TaskLanguage, String)>,
}

impl Graders {
    /// The graders of a new study.
    ///
    /// # Errors
    /// As [`Graders::of`]; none of the tasks can be executed though the study goes by pass@k.
    pub(super) fn new(settings: &Settings, printer: &Printer) -> anyhow::Result<Self> {
        let graders =
            Self::of(&settings.tasks, settings.task_limit, settings.sandbox, settings.draws, printer)?;
        graders.for_quality(settings)
    }

    /// The graders of a study that goes on: by the tasks that it was begun with, where they and their interpreters are still there; else, and
    /// for a new segment, by those that tell right from wrong now. A study of an older version was graded by all of them.
    ///
    /// # Errors
    /// As [`Graders::new`].
    pub(super) fn resumed(
        settings: &Settings,
        store: &Store,
        study: StudyId,
        new_segment: bool,
        printer: &Printer,
    ) -> anyhow::Result<Self> {
        if new_segment {
            return Self::new(settings, printer);
        }
        let (mut set, mut judge, left_out) = load(&settings.tasks, settings.sandbox)?;
        let note = store.note(study, TASKS_NOTE)?;
        match note.and_then(|json| serde_json::from_str::<GradedTasks>(&json).ok()) {
            Some(graded) => {
                let there = graded.ids.iter().all(|id| set.get(id).is_some());
                if !there || graded.interpreters != task_checks::interpreters(&set.tasks, &mut judge) {
                    return Self::new(settings, printer);
                }
                let wanted: HashSet<&str> = graded.ids.iter().map(String::as_str).collect();
                set.tasks.retain(|task| wanted.contains(task.id.as_str()));
            }
            None => spread(&mut set.tasks, settings.task_limit),
        }
        Self::with(set, judge, left_out, None, settings.draws)?.for_quality(settings)
    }

    /// The tasks that can be graded by, of so many of a set (0: all). Those of a language that is never executed are graded by CodeBLEU and
    /// syntax, where they bring a solution to compare with. Left out are those whose interpreter is missing, and those that do not tell right
    /// from wrong.
    ///
    /// # Errors
    /// There are no tasks, none can be graded, fewer than half of them tell right from wrong, or no sandbox is to be had.
    pub(super) fn of(
        tasks: &str,
        task_limit: usize,
        mode: Mode,
        draws: Option<Draws>,
        printer: &Printer,
    ) -> anyhow::Result<Self> {
        let (mut set, mut judge, mut left_out) = load(tasks, mode)?;
        spread(&mut set.tasks, task_limit);
        for task in set.tasks.iter_mut().filter(|task| !task.suffix.is_empty()) {
            task.refusal.get_or_insert_with(|| Refusal::Field("suffix".to_owned()));
        }
        let (proofs, summary) = task_checks::check(&set.tasks, &mut judge, printer).map_err(refused)?;
        if summary.proven * 2 < summary.checked {
            let text = format!(
                "--tasks {tasks}: only {} of {} tasks can tell a right program from a wrong one, fewer than half: {}; mend them, or name others",
                summary.proven,
                summary.checked,
                summary.reasons()
            );
            return Err(Expected::usage(text).into());
        }
        left_out.extend(summary.lines().into_iter().map(|line| format!("warning: {line}")));
        if !set.unread.is_empty() {
            left_out.push(format!("fields of {} that are not read: {}", set.name, set.unread.join(", ")));
        }
        left_out.extend(task_checks::packages(&set.tasks, &mut judge));
        let mut kept = proofs.iter().map(|proof| !matches!(proof, Proof::LeftOut(_)));
        set.tasks.retain(|task| kept.next() == Some(true) && task.suffix.is_empty());
        Self::with(set, judge, left_out, Some(summary), draws)
    }

    fn with(
        set: TaskSet,
        mut judge: Sandbox,
        left_out: Vec<String>,
        checked: Option<Summary>,
        draws: Option<Draws>,
    ) -> anyhow::Result<Self> {
        if set.tasks.is_empty() {
            let why = if left_out.is_empty() { String::new() } else { format!(": {}", left_out.join("; ")) };
            let text = format!("--tasks {}: none of the tasks can be graded on this machine{why}", set.name);
            return Err(Expected::environment(text).into());
        }
        let unexecuted = set.tasks.iter().filter(|task| !task.language.is_executed()).count();
        let told = (unexecuted > 0).then(|| {
            format!(
                "{unexecuted} of {} tasks are in languages that are not executed: they are graded by CodeBLEU and syntax, and count in no pass@k",
                set.tasks.len()
            )
        });
        let executed = unexecuted < set.tasks.len();
        let interpreters = task_checks::interpreters(&set.tasks, &mut judge);
        let graded =
            GradedTasks { ids: set.tasks.iter().map(|task| task.id.clone()).collect(), interpreters };
        let left_out = told.into_iter().chain(left_out).collect();
        Ok(Self {
            grading: TaskGrading::new(set, Box::new(judge), draws),
            left_out,
            checked,
            graded,
            executed,
        })
    }

    /// Keeps with a new study which tasks it is graded by.
    ///
    /// # Errors
    /// The database refuses.
    pub(super) fn keep(&self, store: &Store, study: StudyId) -> anyhow::Result<()> {
        Ok(store.save_note(study, TASKS_NOTE, &serde_json::to_string(&self.graded)?)?)
    }

    fn for_quality(self, settings: &Settings) -> anyhow::Result<Self> {
        if !self.executed && matches!(settings.quality, Quality::Pass1 | Quality::Pass10) {
            let text = format!(
                "--tasks {}: none of these tasks is in a language that is executed, so there is no pass@k; write --quality codebleu",
                settings.tasks
            );
            return Err(Expected::usage(text).into());
        }
        Ok(self)
    }
}

fn refused(error: SandboxError) -> Expected {
    Expected::environment(error.to_string())
}

/// The tasks that this machine can grade, their judge, and what the user should know of the others and of the judge.
fn load(tasks: &str, mode: Mode) -> anyhow::Result<(TaskSet, Sandbox, Vec<String>)> {
    let mut set =
        tasks::load(tasks, 0).map_err(|e| Expected::usage(format!("--tasks: {}", told(&e.into()))))?;
    let sandbox_settings = sandbox::Settings { mode, ..sandbox::Settings::default() };
    let mut judge = Sandbox::new(sandbox_settings).map_err(refused)?;
    let unprotected = match judge.layers() {
        layers if layers.is_strict() => None,
        layers => Some(format!("warning: model-written code runs without {}", layers.missing())),
    };
    let mut left_out: Vec<String> = Vec::new();
    let compared = |task: &Task| task.canonical.is_some() && task.language_name.parse::<Language>().is_ok();
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
    let left_out = left_out.chain(unprotected).collect();
    Ok((set, judge, left_out))
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
