//! What was found of a set of tasks, for people and for JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Proof, Reason};
use crate::tasks::Task;

/// Ids named of each reason.
const NAMED: usize = 5;

/// A task that is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// The task's id.
    pub task_id: String,
    /// Why.
    #[serde(flatten)]
    pub reason: Reason,
}

/// What was found of a set of tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Tasks that were looked at: those of languages that are executed.
    pub checked: usize,
    /// Tasks that prove themselves.
    pub proven: usize,
    /// Those of them that bring no solution: that wrong programs fail is all that is known.
    pub without_solution: usize,
    /// How many were left out for each reason.
    pub left_out_by_reason: BTreeMap<&'static str, usize>,
    /// Each task that was left out.
    pub left_out: Vec<LeftOut>,
}

impl Summary {
    /// Sums up the proofs of tasks.
    #[must_use]
    pub fn of(tasks: &[Task], proofs: &[Proof]) -> Self {
        let mut summary = Self::default();
        for (task, proof) in tasks.iter().zip(proofs) {
            match proof {
                Proof::NotExecuted => continue,
                Proof::Proven => summary.proven += 1,
                Proof::StubsFail => {
                    summary.proven += 1;
                    summary.without_solution += 1;
                }
                Proof::LeftOut(reason) => {
                    *summary.left_out_by_reason.entry(reason.name()).or_default() += 1;
                    summary.left_out.push(LeftOut { task_id: task.id.clone(), reason: reason.clone() });
                }
            }
            summary.checked += 1;
        }
        summary
    }

    /// A line for each reason, the commonest first, with the tasks that it concerns; one for tasks without a solution.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .by_reason()
            .into_iter()
            .map(|(reason, tasks)| {
                let shown: Vec<String> = tasks.iter().take(NAMED).map(|task| named(task, &reason)).collect();
                let more = if tasks.len() > NAMED { ", ..." } else { "" };
                format!(
                    "left out {} of {}: {reason} ({}{more})",
                    tasks.len(),
                    counted(self.checked),
                    shown.join(", ")
                )
            })
            .collect();
        if self.without_solution > 0 {
            lines.push(format!(
                "{} of {} have no reference solution: only the failure of programs that are always wrong is verified",
                self.without_solution,
                counted(self.checked)
            ));
        }
        lines
    }

    /// The reasons in short, the commonest first.
    #[must_use]
    pub fn reasons(&self) -> String {
        let told = self.by_reason().into_iter().map(|(reason, tasks)| {
            let first = tasks.first().map(|task| named(task, &reason)).unwrap_or_default();
            format!("{} {reason} (first {first})", tasks.len())
        });
        told.collect::<Vec<_>>().join("; ")
    }

    fn by_reason(&self) -> Vec<(String, Vec<&LeftOut>)> {
        let mut groups: BTreeMap<String, Vec<&LeftOut>> = BTreeMap::new();
        for task in &self.left_out {
            groups.entry(task.reason.in_common()).or_default().push(task);
        }
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_by_key(|(_, tasks)| std::cmp::Reverse(tasks.len()));
        groups
    }
}

/// The task's id, with what its reason says beyond what is common to several tasks.
fn named(task: &LeftOut, common: &str) -> String {
    let whole = task.reason.to_string();
    match whole.strip_prefix(common).map(|rest| rest.trim_start_matches(": ")) {
        Some("") => task.task_id.clone(),
        Some(detail) => format!("{}: {detail}", task.task_id),
        None => format!("{}: {whole}", task.task_id),
    }
}

fn counted(tasks: usize) -> String {
    if tasks == 1 { "1 task".to_owned() } else { format!("{tasks} tasks") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks::{WARMUP, load};
    use autotune_sandbox::Verdict;

    #[test]
    fn reasons_are_counted_and_told_with_the_tasks() {
        let tasks = load(WARMUP, 5).unwrap().tasks;
        let missing = || Proof::LeftOut(Reason::MissingModule { module: "numpy".to_owned() });
        let fails = Reason::SolutionFails { verdict: Verdict::Failed, detail: "ValueError".to_owned() };
        let proofs = [missing(), Proof::Proven, Proof::LeftOut(fails), missing(), Proof::StubsFail];
        let summary = Summary::of(&tasks, &proofs);
        assert_eq!((summary.checked, summary.proven, summary.without_solution), (5, 2, 1));
        assert_eq!(summary.left_out_by_reason["missing_module"], 2);
        let lines = summary.lines();
        assert!(lines[0].starts_with("left out 2 of 5 tasks: missing module numpy"), "{lines:?}");
        assert!(lines[0].contains(&tasks[0].id) && lines[0].contains(&tasks[3].id), "{lines:?}");
        let told = format!("the task's own solution fails ({}: failed, ValueError)", tasks[2].id);
        assert!(lines[1].contains(&told), "{lines:?}");
        assert!(lines[2].starts_with("1 of 5 tasks have no reference solution"), "{lines:?}");
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!(json["left_out"][0]["reason"], "missing_module");
        assert_eq!(json["left_out"][0]["module"], "numpy");
    }

    #[test]
    fn what_is_not_executed_is_not_counted() {
        let tasks = load(WARMUP, 2).unwrap().tasks;
        let summary = Summary::of(&tasks, &[Proof::NotExecuted, Proof::Proven]);
        assert_eq!((summary.checked, summary.proven, summary.lines()), (1, 1, Vec::new()));
    }
}
