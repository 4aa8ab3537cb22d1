//! The one interface of all samplers, and their names.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{History, Problem, anneal::Anneal, autotune::Autotune, nsga2::Nsga2, random::RandomFeasible};
use autotune_core::space::Point;

/// What a sampler answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Try this point: it fits and was not tried.
    Point(Point),
    /// Time the complete trial of this number once more: its place on the front is in doubt. Only where [`Problem::repeat`] offers it.
    Again(u64),
    /// Nothing that fits is left to try, as far as can be found.
    Exhausted,
}

/// Why there is no sampler.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SearchError {
    /// No sampler has this name.
    #[error("unknown sampler `{0}`; use autotune, nsga2, anneal or random")]
    UnknownSampler(String),
}

/// Chooses what to try next.
///
/// `ask` is a pure function of its arguments: equal space, history, seed and number give the equal answer, also in a new
/// process. A sampler may keep caches, but none that changes an answer.
pub trait Sampler {
    /// Which one it is.
    fn kind(&self) -> SamplerKind;

    /// The next point. `number` is the number that the new trial will have.
    fn ask(&mut self, problem: &dyn Problem, history: &History, seed: u64, number: u64) -> Ask;

    /// The hypervolume that the sampler expected to gain with its answer to the same arguments, as a fraction of the
    /// hypervolume reached; `None` for samplers that have no such expectation.
    fn expected_gain(
        &mut self,
        _problem: &dyn Problem,
        _history: &History,
        _seed: u64,
        _number: u64,
    ) -> Option<f64> {
        None
    }
}

/// Which sampler chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SamplerKind {
    /// Gaussian processes with expected hypervolume improvement.
    #[default]
    Autotune,
    /// The genetic algorithm NSGA-II.
    Nsga2,
    /// Simulated annealing.
    Anneal,
    /// Uniform among the points that fit.
    Random,
}

impl SamplerKind {
    /// Every sampler, the default first.
    pub const ALL: [Self; 4] = [Self::Autotune, Self::Nsga2, Self::Anneal, Self::Random];

    /// The name on the command line and in the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Autotune => "autotune",
            Self::Nsga2 => "nsga2",
            Self::Anneal => "anneal",
            Self::Random => "random",
        }
    }

    /// The sampler itself, with empty caches.
    #[must_use]
    pub fn sampler(self) -> Box<dyn Sampler> {
        match self {
            Self::Autotune => Box::new(Autotune::default()),
            Self::Nsga2 => Box::new(Nsga2::default()),
            Self::Anneal => Box::new(Anneal::default()),
            Self::Random => Box::new(RandomFeasible::default()),
        }
    }
}

impl FromStr for SamplerKind {
    type Err = SearchError;

    fn from_str(name: &str) -> Result<Self, SearchError> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| SearchError::UnknownSampler(name.to_owned()))
    }
}

impl fmt::Display for SamplerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
