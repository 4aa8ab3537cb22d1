//! The ways in which a stage gives no result: the trial ends with a reason, or the study stops.

use autotune_store::{EndState, Failure, FailureKind};

/// A rung that ended the trial.
pub(super) struct Ended {
    pub(super) state: EndState,
    pub(super) failure: Failure,
}

impl Ended {
    pub(super) fn failed(kind: FailureKind, text: impl Into<String>) -> Self {
        Self { state: EndState::Failed, failure: Failure { kind, text: text.into() } }
    }

    /// Why, for people.
    pub(super) fn into_text(self) -> String {
        self.failure.text
    }

    pub(super) fn early(kind: FailureKind, text: String) -> Self {
        Self { state: EndState::Stopped, failure: Failure { kind, text } }
    }

    pub(super) fn over_budget(text: String) -> Self {
        let failure = Failure { kind: FailureKind::OverBudget, text };
        Self { state: EndState::Infeasible, failure }
    }
}

/// Why a rung gave no result.
pub(super) enum Halt {
    /// The trial ends with a reason.
    Ended(Ended),
    /// The study stops or breaks.
    Study(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Halt {
    fn from(error: E) -> Self {
        Halt::Study(error.into())
    }
}
