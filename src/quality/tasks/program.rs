//! A completion made into something that can be judged.

use serde::{Deserialize, Serialize};

use super::{Kind, Task, TaskLanguage};

/// A program and its tests. The solution is untrusted; all else comes from the task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The task's id, for reports.
    pub task_id: String,
    /// What executes it.
    pub language: TaskLanguage,
    /// Untrusted: the whole source under test.
    pub solution: String,
    /// Trusted source known before the completion (the prompt): its imports and helpers serve the tests, so that a completion
    /// cannot replace them. May stop in the middle of a function.
    pub prelude: String,
    /// Trusted source that runs before the tests.
    pub setup: String,
    /// Trusted tests: complete when their last statement returned.
    pub tests: String,
    /// The function that tests take from the solution; empty: whatever names they use.
    pub entry_point: String,
}

/// The program that `completion` makes of `task`.
#[must_use]
pub fn program(task: &Task, completion: &str) -> Program {
    match task.kind {
        Kind::Continuation => whole_program(task, format!("{}{completion}{}", task.prompt, task.suffix)),
        Kind::Standalone => whole_program(task, completion.to_owned()),
    }
}

/// A whole program as the answer to `task`: one that has the prompt in it, or does without.
#[must_use]
pub fn whole_program(task: &Task, solution: String) -> Program {
    let prelude = match task.kind {
        Kind::Continuation => task.prompt.clone(),
        Kind::Standalone => String::new(),
    };
    Program {
        task_id: task.id.clone(),
        language: task.language,
        solution,
        prelude,
        setup: task.setup.clone(),
        tests: task.tests.clone(),
        entry_point: task.entry_point.clone(),
    }
}
