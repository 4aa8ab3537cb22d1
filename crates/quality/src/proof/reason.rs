//! Why a task does not tell right from wrong.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::tasks::Refusal;
use autotune_sandbox::{Judgement, Verdict};

/// Why a task is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// The tests or the solution import a module that the interpreter of the sandbox does not have.
    MissingModule {
        /// Its name.
        module: String,
    },
    /// A program passes that is wrong whatever the task is.
    NothingAsserted {
        /// What the program does.
        stub: String,
    },
    /// The task's own solution does not pass.
    SolutionFails {
        /// What became of it.
        verdict: Verdict,
        /// Why.
        detail: String,
    },
    /// The task's own solution needs more time than a program gets.
    TooSlow,
    /// There is no solution, and the tests fail by themselves.
    TestsFail {
        /// How.
        detail: String,
    },
    /// A field of the row would change what is asked or what passes, and is not understood.
    UnsupportedField {
        /// Its name.
        field: String,
    },
    /// A test function takes what only another tool gives it.
    UncallableTest {
        /// Its name and parameters.
        function: String,
    },
}

/// Longest text of a failure, in characters.
const LONGEST: usize = 200;

impl Reason {
    /// What the verdict on a task's own solution says against the task; nothing when it passed.
    pub(super) fn of_solution(judgement: &Judgement) -> Option<Self> {
        if judgement.verdict.is_pass() {
            return None;
        }
        Some(match missing_module(&judgement.detail) {
            Some(module) => Self::MissingModule { module },
            None if judgement.verdict == Verdict::Timeout => Self::TooSlow,
            None => Self::SolutionFails { verdict: judgement.verdict, detail: plain(&judgement.detail) },
        })
    }

    /// What the failure of a wrong program says against the tests: it must fail by what it gives, not by tests that cannot run.
    pub(super) fn of_broken_tests(judgement: &Judgement) -> Option<Self> {
        if let Some(module) = missing_module(&judgement.detail) {
            return Some(Self::MissingModule { module });
        }
        let broken = ["SyntaxError", "IndentationError", "NameError", "ImportError", "ReferenceError"];
        let of_tests =
            !judgement.detail.contains(" while loading") && !judgement.detail.contains(" when called");
        (of_tests && broken.iter().any(|kind| judgement.detail.starts_with(kind)))
            .then(|| Self::TestsFail { detail: plain(&judgement.detail) })
    }

    /// The reason's name as it is counted.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::MissingModule { .. } => "missing_module",
            Self::NothingAsserted { .. } => "nothing_asserted",
            Self::SolutionFails { .. } => "solution_fails",
            Self::TooSlow => "too_slow",
            Self::TestsFail { .. } => "tests_fail",
            Self::UnsupportedField { .. } => "unsupported_field",
            Self::UncallableTest { .. } => "uncallable_test",
        }
    }

    /// The reason without what differs from task to task, by which tasks are told together.
    #[must_use]
    pub fn in_common(&self) -> String {
        match self {
            Self::SolutionFails { .. } => "the task's own solution fails".to_owned(),
            Self::TestsFail { .. } => "the tests fail by themselves".to_owned(),
            Self::UncallableTest { .. } => {
                "a test function takes parameters that only another tool gives".to_owned()
            }
            other => other.to_string(),
        }
    }
}

impl From<Refusal> for Reason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Field(field) => Self::UnsupportedField { field },
            Refusal::TestFunction(function) => Self::UncallableTest { function },
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingModule { module } => {
                write!(f, "missing module {module}: the interpreter of the sandbox cannot import it")
            }
            Self::NothingAsserted { stub } => write!(f, "nothing asserted: a program that {stub} passes"),
            Self::SolutionFails { verdict, detail } => {
                let verdict = serde_json::to_value(verdict).unwrap_or_default();
                let verdict = verdict.as_str().unwrap_or("failed").replace('_', " ");
                write!(f, "the task's own solution fails: {verdict}, {detail}")
            }
            Self::TooSlow => write!(f, "too slow: the task's own solution runs out of time"),
            Self::TestsFail { detail } => write!(f, "the tests fail by themselves: {detail}"),
            Self::UnsupportedField { field } if field == "suffix" => {
                write!(f, "unsupported field suffix: infilling prompts are not supported yet")
            }
            Self::UnsupportedField { field } => {
                write!(f, "unsupported field {field}: it would change the verdict and is not understood")
            }
            Self::UncallableTest { function } => {
                write!(f, "the test function {function} takes parameters that only another tool gives")
            }
        }
    }
}

/// The module that could not be imported, from the words of Python's and Node's exceptions.
fn missing_module(detail: &str) -> Option<String> {
    let quoted = ["No module named '", "Cannot find module '"].iter().find_map(|words| {
        let from = detail.find(words)? + words.len();
        Some(&detail[from..from + detail[from..].find('\'')?])
    })?;
    let name: String = quoted.chars().filter(|c| !c.is_control()).take(80).collect();
    (!name.is_empty()).then_some(name)
}

/// A text without control characters, cut to a readable length: it may be the judged code's.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judgement(verdict: Verdict, detail: &str) -> Judgement {
        Judgement { verdict, detail: detail.to_owned(), cpu_ms: 1.0, wall_ms: 1.0 }
    }

    #[test]
    fn a_missing_module_is_told_from_a_wrong_solution() {
        let of = |verdict, detail: &str| Reason::of_solution(&judgement(verdict, detail));
        let module = |name: &str| Some(Reason::MissingModule { module: name.to_owned() });
        assert_eq!(
            of(
                Verdict::Failed,
                "ModuleNotFoundError: No module named 'numpy' at test line 1: import numpy as np"
            ),
            module("numpy")
        );
        assert_eq!(
            of(Verdict::Failed, "ModuleNotFoundError while loading: No module named 'pandas.core' (line 1)"),
            module("pandas.core")
        );
        assert_eq!(of(Verdict::Failed, "Error while loading: Cannot find module 'js-md5'"), module("js-md5"));
        assert_eq!(of(Verdict::Timeout, "ran out of time"), Some(Reason::TooSlow));
        assert_eq!(of(Verdict::Passed, ""), None);
        let text = of(Verdict::MemoryExceeded, "big\u{1b}[2J").unwrap().to_string();
        assert_eq!(text, "the task's own solution fails: memory exceeded, big [2J");
    }

    #[test]
    fn tests_that_fail_by_themselves_are_told_from_a_wrong_program() {
        let of = |detail: &str| Reason::of_broken_tests(&judgement(Verdict::Failed, detail));
        assert!(matches!(
            of("NameError: name 'g' is not defined at test line 2: g()"),
            Some(Reason::TestsFail { .. })
        ));
        assert_eq!(of("NameError when called: name 'g' is not defined (line 2)"), None);
        assert_eq!(of("AssertionError at test line 2: assert f() == 1"), None);
    }
}
