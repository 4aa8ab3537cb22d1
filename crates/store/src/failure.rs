//! The reason why a trial did not complete.

use serde::Serialize;

use super::names::open_names;

open_names! {
    /// The kind of a failure, to group trials by.
    FailureKind {
        /// The worker reported an error.
        Error = "error",
        /// The worker ended without an answer: killed by a signal, or by an assertion of a native library.
        Crash = "crash",
        /// A stage took longer than its limit.
        Timeout = "timeout",
        /// The machine has no more memory.
        Memory = "memory",
        /// The predicted or measured peak memory is over the budget.
        OverBudget = "over_budget",
        /// A token takes more energy than the declared bound.
        OverEnergy = "over_energy",
        /// A weight, a logit or a measurement is NaN or infinite.
        NotANumber = "not_a_number",
        /// The worker's peak memory could not be read.
        NoMemoryReading = "no_memory_reading",
        /// The artifact was lost, and building it once more gave another file.
        NotReproduced = "not_reproduced",
        /// Grading was skipped: the candidate could not reach the front.
        NotGraded = "not_graded",
        /// Grading was stopped early: the candidate had lost.
        Lost = "lost",
    }
}

/// Why a trial did not complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The kind, to group by.
    pub kind: FailureKind,
    /// The sentence for people.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_as_their_kinds_and_unknown_ones_are_kept() {
        for kind in FailureKind::ALL {
            assert_eq!(FailureKind::from(kind.name()), *kind);
        }
        let newer = FailureKind::from("thermal_limit");
        assert_eq!((newer.name(), newer.to_string()), ("thermal_limit", "thermal_limit".to_owned()));
        assert_eq!(serde_json::to_string(&FailureKind::OverBudget).unwrap(), r#""over_budget""#);
    }
}
