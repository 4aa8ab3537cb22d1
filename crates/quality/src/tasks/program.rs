//! A completion made into something that can be judged.

use super::{Kind, Program, Task};

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
