//! Checks and their verdicts.

use serde::Serialize;

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Met.
    Pass,
    /// Not met.
    Fail,
    /// Could not be made, for the reason in the text.
    Skip,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// A stable name for programs: `memory`, `latency`.
    pub name: String,
    /// Its result.
    pub status: Status,
    /// What was measured, in the unit of `allowed`.
    pub measured: Option<f64>,
    /// The bound.
    pub allowed: Option<f64>,
    /// For people: what was measured, and what would be allowed.
    pub text: String,
}

impl Check {
    /// A check against no bound.
    pub(super) fn new(name: &str, passed: bool, text: impl Into<String>) -> Self {
        let status = if passed { Status::Pass } else { Status::Fail };
        Self { name: name.into(), status, measured: None, allowed: None, text: text.into() }
    }

    /// A check that could not be made.
    pub(super) fn skip(name: &str, why: impl Into<String>) -> Self {
        Self { name: name.into(), status: Status::Skip, measured: None, allowed: None, text: why.into() }
    }

    /// Adds the numbers.
    pub(super) fn with(mut self, measured: f64, allowed: f64) -> Self {
        self.measured = measured.is_finite().then_some(measured);
        self.allowed = Some(allowed);
        self
    }
}

/// All checks of an artifact.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdicts {
    /// Whether none failed.
    pub passed: bool,
    /// The checks, in the order in which they matter.
    pub checks: Vec<Check>,
}

impl Verdicts {
    /// Sums up.
    #[must_use]
    pub fn new(checks: Vec<Check>) -> Self {
        Self { passed: checks.iter().all(|c| c.status != Status::Fail), checks }
    }

    /// How many checks came out so.
    #[must_use]
    pub fn count(&self, status: Status) -> usize {
        self.checks.iter().filter(|c| c.status == status).count()
    }
}
