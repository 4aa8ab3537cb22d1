//! The one interface of all samplers, and their names.

use super::{History, Problem, anneal::Anneal, autotune::Autotune, nsga2::Nsga2, random::RandomFeasible};
use crate::space::Point;

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
    /// The name that [`sampler`] takes.
    fn name(&self) -> &'static str;

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

/// The names of all samplers, the default first.
pub const SAMPLERS: [&str; 4] = ["autotune", "nsga2", "anneal", "random"];

/// The sampler of a name: see [`SAMPLERS`].
///
/// # Errors
/// An unknown name.
pub fn sampler(name: &str) -> Result<Box<dyn Sampler>, SearchError> {
    match name {
        "autotune" => Ok(Box::new(Autotune::default())),
        "nsga2" => Ok(Box::new(Nsga2::default())),
        "anneal" => Ok(Box::new(Anneal::default())),
        "random" => Ok(Box::new(RandomFeasible::default())),
        other => Err(SearchError::UnknownSampler(other.to_owned())),
    }
}
