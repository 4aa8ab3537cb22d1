//! The graders of a study: the tasks that distinguish right from wrong programs, and the sandbox that judges those that can be executed here.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::task_checks;
use crate::engine::draw::Draws;
use crate::exit::Expected;
use crate::quality::codebleu::Language;
use crate::quality::proof::{Proof, Summary};
use crate::quality::tasks;
use crate::quality::tasks::{Refusal, Task, TaskLanguage, TaskSet};
use crate::report::TASKS_NOTE;
use crate::sandbox;
use crate::sandbox::{Mode, Sandbox, SandboxError};
use crate::store::{Store, StudyId};
use crate::study::{Observer, Quality, Settings, TaskGrading};
use crate::worker::fault::told;

/// The tasks with their judge, and what the user should know: why some were left out, what protection is missing.
pub(crate) struct Graders {
    pub(crate) grading: TaskGrading<'static>,
    pub(crate) left_out: Vec<String>,
    /// Which tasks distinguish right from wrong programs; none where a study continues with those that it was started with.
    pub(crate) checked: Option<Summary>,
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
    /// Tasks that were left out, a line for each reason; for the report.
    #[serde(default)]
    left_out: Vec<String>,
}

impl Graders {
    /// The graders of a new study.
    ///
    /// # Errors
    /// As [`Graders::of`]; none of the tasks can be executed though the study goes by pass@k.
    pub(crate) fn new(settings: &Settings, observer: &mut dyn Observer) -> anyhow::Result<Self> {
        let graders =
            Self::of(&settings.tasks, settings.task_limit, settings.sandbox, settings.draws, observer)?;
        graders.for_quality(settings)
    }

    /// The graders of a resumed study: the tasks that it was started with, where they and their interpreters are still there; else, and
    /// for a new segment, the tasks that distinguish right from wrong programs now. A study of an older version was graded by all of them.
    ///
    /// # Errors
    /// As [`Graders::new`].
    pub(crate) fn resumed(
        settings: &Settings,
        store: &Store,
        study: StudyId,
        new_segment: bool,
        observer: &mut dyn Observer,
    ) -> anyhow::Result<Self> {
        if new_segment {
            return Self::new(settings, observer);
        }
        let (mut set, mut judge, left_out) = load(&settings.tasks, settings.sandbox)?;
        let note = store.note(study, TASKS_NOTE)?;
        match note.and_then(|json| serde_json::from_str::<GradedTasks>(&json).ok()) {
            Some(graded) => {
                let there = graded.ids.iter().all(|id| set.get(id).is_some());
                if !there || graded.interpreters != task_checks::interpreters(&set.tasks, &mut judge) {
                    return Self::new(settings, observer);
                }
                let wanted: HashSet<&str> = graded.ids.iter().map(String::as_str).collect();
                set.tasks.retain(|task| wanted.contains(task.id.as_str()));
            }
            None => spread(&mut set.tasks, settings.task_limit),
        }
        Self::with(set, judge, left_out, None, settings.draws)?.for_quality(settings)
    }

    /// The usable tasks among this many of a set (0: all). Those of a language that is never executed are graded by CodeBLEU and
    /// syntax, where they bring a solution to compare with. Left out are those whose interpreter is missing, and those that do not tell right
    /// from wrong.
    ///
    /// # Errors
    /// There are no tasks, none can be graded, fewer than half of them tell right from wrong, or no sandbox is available.
    pub(crate) fn of(
        tasks: &str,
        task_limit: usize,
        mode: Mode,
        draws: Option<Draws>,
        observer: &mut dyn Observer,
    ) -> anyhow::Result<Self> {
        let (mut set, mut judge, mut left_out) = load(tasks, mode)?;
        for task in set.tasks.iter_mut().filter(|task| !task.suffix.is_empty()) {
            task.refusal.get_or_insert_with(|| Refusal::Field("suffix".to_owned()));
        }
        let places: HashMap<String, usize> =
            set.tasks.iter().enumerate().map(|(place, task)| (task.id.clone(), place)).collect();
        let whole = std::mem::take(&mut set.tasks);
        let (checked, proofs) = prove(whole, tasks, task_limit, &mut judge, observer)?;
        let summary = Summary::of(&checked, &proofs);
        left_out.extend(summary.lines().into_iter().map(|line| format!("warning: {line}")));
        if !set.unread.is_empty() {
            left_out.push(format!("fields of {} that are not read: {}", set.name, set.unread.join(", ")));
        }
        left_out.extend(task_checks::packages(&checked, &mut judge));
        let kept = checked.into_iter().zip(&proofs).filter(|(_, proof)| !matches!(proof, Proof::LeftOut(_)));
        set.tasks = kept.map(|(task, _)| task).filter(|task| task.suffix.is_empty()).collect();
        set.tasks.sort_by_key(|task| places.get(&task.id));
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
        let ids = set.tasks.iter().map(|task| task.id.clone()).collect();
        let excluded = checked.as_ref().map(Summary::lines).unwrap_or_default();
        let graded = GradedTasks { ids, interpreters, left_out: excluded };
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
    pub(crate) fn keep(&self, store: &Store, study: StudyId) -> anyhow::Result<()> {
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
    if most > 0 {
        *items = take_spread(items, most);
    }
}

/// Checks tasks by their own solutions and by wrong programs until so many of them (0: all) are sound: others take the places of those that
/// are left out. `name` is the set's.
///
/// # Errors
/// Fewer than half of the first choice are sound, or nothing can be judged.
fn prove(
    mut rest: Vec<Task>,
    name: &str,
    task_limit: usize,
    judge: &mut Sandbox,
    observer: &mut dyn Observer,
) -> anyhow::Result<(Vec<Task>, Vec<Proof>)> {
    let (mut checked, mut proofs) = (Vec::new(), Vec::new());
    loop {
        let kept = proofs.iter().filter(|proof| !matches!(proof, Proof::LeftOut(_))).count();
        let missing = if task_limit == 0 { rest.len() } else { task_limit.saturating_sub(kept) };
        if missing == 0 || rest.is_empty() {
            return Ok((checked, proofs));
        }
        let chosen = take_spread(&mut rest, missing);
        let (found, summary) = task_checks::check(&chosen, judge, observer).map_err(refused)?;
        if checked.is_empty() && summary.proven * 2 < summary.checked {
            let text = format!(
                "--tasks {name}: only {} of {} tasks can distinguish a right program from a wrong one, fewer than half: {}; fix them, or give other tasks",
                summary.proven,
                summary.checked,
                summary.reasons()
            );
            return Err(Expected::usage(text).into());
        }
        checked.extend(chosen);
        proofs.extend(found);
    }
}

/// Takes `most` items out of a list, evenly spread; all where there are no more.
fn take_spread<T>(items: &mut Vec<T>, most: usize) -> Vec<T> {
    let n = items.len();
    let most = most.min(n);
    let (mut taken, mut left) = (Vec::with_capacity(most), Vec::with_capacity(n - most));
    for (index, item) in std::mem::take(items).into_iter().enumerate() {
        let takes = (index + 1) * most / n > index * most / n;
        if takes { taken.push(item) } else { left.push(item) }
    }
    *items = left;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_spread_and_the_rest_stays_in_its_order() {
        let mut items: Vec<usize> = (0..10).collect();
        assert_eq!(take_spread(&mut items, 3), [3, 6, 9]);
        assert_eq!(items, [0, 1, 2, 4, 5, 7, 8]);
        assert_eq!(take_spread(&mut items, 100), [0, 1, 2, 4, 5, 7, 8]);
        assert!(items.is_empty() && take_spread(&mut items, 1).is_empty());
    }

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
