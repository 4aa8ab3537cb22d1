//! What is judged: a program with its tests.

use serde::{Deserialize, Serialize};

/// What a program is written in, as far as execution goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskLanguage {
    /// Executed by `python3`.
    Python,
    /// Executed by `node`.
    JavaScript,
    /// Executed by `node` after its types were erased.
    TypeScript,
    /// Not executed: graded by CodeBLEU and syntax validity alone.
    Other,
}

impl TaskLanguage {
    /// Whether tests can be run for it.
    #[must_use]
    pub fn is_executed(self) -> bool {
        self != Self::Other
    }
}

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
