//! The words of the house as types: rungs, states, origins, objectives.

use autotune_core::metric::Direction;
use std::fmt;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::{Deserialize, Serialize};

use super::rows::TrialRecord;

/// Declares an enum that is stored, printed and parsed under one name for each case.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$case_doc:meta])* $case:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $name { $($(#[$case_doc])* $case,)+ }

        impl $name {
            /// Every case, in order.
            pub const ALL: &'static [$name] = &[$($name::$case),+];

            /// The name in the database and in JSON.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $($name::$case => $text,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(self.name().into())
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                let text = value.as_str()?;
                Self::ALL.iter().copied().find(|w| w.name() == text).ok_or_else(|| {
                    FromSqlError::Other(format!("`{text}` is not a valid {}", stringify!($name)).into())
                })
            }
        }
    };
}

words! {
    /// How far a trial was taken; ordered.
    Rung {
        /// Bytes and time were predicted.
        Predicted = "predicted",
        /// The artifact exists.
        Built = "built",
        /// Latency and memory were observed.
        Measured = "measured",
        /// Divergence from the reference was observed.
        Diverged = "diverged",
        /// Generated code was graded.
        Graded = "graded",
    }
}

words! {
    /// What became of a trial.
    TrialState {
        /// Asked, nobody works on it.
        Queued = "queued",
        /// A worker has it (or had it, and died).
        Running = "running",
        /// All rungs finished.
        Complete = "complete",
        /// Ended early with a reason: it could not win.
        Stopped = "stopped",
        /// Over the budget, predicted or measured.
        Infeasible = "infeasible",
        /// Could not be built, run or graded.
        Failed = "failed",
    }
}

impl TrialState {
    /// Whether the trial is history.
    #[must_use]
    pub fn is_ended(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

words! {
    /// How a trial ends.
    EndState {
        /// All rungs finished.
        Complete = "complete",
        /// Ended early with a reason.
        Stopped = "stopped",
        /// Over the budget, predicted or measured.
        Infeasible = "infeasible",
        /// Could not be built, run or graded.
        Failed = "failed",
    }
}

impl From<EndState> for TrialState {
    fn from(end: EndState) -> Self {
        match end {
            EndState::Complete => Self::Complete,
            EndState::Stopped => Self::Stopped,
            EndState::Infeasible => Self::Infeasible,
            EndState::Failed => Self::Failed,
        }
    }
}

words! {
    /// What a study is doing.
    StudyState {
        /// A process asks and runs trials.
        Running = "running",
        /// The process that ran it is gone: killed, or the machine went down. Never stored, but read for a "running" that is no longer true.
        Interrupted = "interrupted",
        /// Stopped by the user or a limit; can be resumed.
        Paused = "paused",
        /// Stopped by itself.
        Finished = "finished",
    }
}

/// The preset that is the uncompressed model, by engine.
const UNCOMPRESSED: [&str; 2] = ["F16", "F32"];

/// Where a candidate came from; stored as `preset:Q4_K_M`, `sampler:autotune`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub enum Origin {
    /// A baseline that people use today, by name.
    Preset(String),
    /// Chosen by a sampler, by name, or by another program (`evaluate`).
    Sampler(String),
    /// A word of another version.
    Other(String),
}

impl Origin {
    /// A baseline that people use today.
    #[must_use]
    pub fn preset(name: &str) -> Self {
        Self::Preset(name.to_owned())
    }

    /// Chosen by a sampler.
    #[must_use]
    pub fn sampler(name: &str) -> Self {
        Self::Sampler(name.to_owned())
    }

    /// The preset's name, when it is one.
    #[must_use]
    pub fn preset_name(&self) -> Option<&str> {
        match self {
            Self::Preset(name) => Some(name),
            Self::Sampler(_) | Self::Other(_) => None,
        }
    }

    /// Whether it is the preset of the uncompressed model, which quality is compared with.
    #[must_use]
    pub fn is_uncompressed(&self) -> bool {
        self.preset_name().is_some_and(|name| UNCOMPRESSED.contains(&name))
    }
}

impl From<String> for Origin {
    fn from(text: String) -> Self {
        match text.split_once(':') {
            Some(("preset", name)) => Self::Preset(name.to_owned()),
            Some(("sampler", name)) => Self::Sampler(name.to_owned()),
            _ => Self::Other(text),
        }
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        match origin {
            Origin::Preset(name) => format!("preset:{name}"),
            Origin::Sampler(name) => format!("sampler:{name}"),
            Origin::Other(text) => text,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&String::from(self.clone()))
    }
}

impl ToSql for Origin {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.to_string().into())
    }
}

impl FromSql for Origin {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Ok(Self::from(value.as_str()?.to_owned()))
    }
}

/// One thing that a study optimises, as it stands in `objectives_json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// The metric's name, for example `request_latency_p50_ms`.
    pub metric: String,
    /// Which way is better.
    pub direction: Direction,
    /// Whether ratios matter, not differences.
    #[serde(default)]
    pub log: bool,
    /// The worst value of interest, in the metric's unit.
    #[serde(default)]
    pub bound: Option<f64>,
    /// The same as a share of what the uncompressed model measures; it becomes a bound once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
}

impl Objective {
    /// With the bound that the share amounts to, where the uncompressed model is a trial that measured it.
    #[must_use]
    pub fn resolved(&self, trials: &[TrialRecord]) -> Self {
        let uncompressed = || trials.iter().find(|t| t.origin.is_uncompressed())?.value(&self.metric);
        let share = || Some(self.share? * uncompressed()?);
        Self { bound: self.bound.or_else(share), ..self.clone() }
    }
}
