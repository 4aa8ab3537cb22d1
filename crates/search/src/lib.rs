//! Ask/tell samplers, Pareto sets, hypervolume and stopping. Knows candidates, costs and history: no model and no store.
//!
//! The door: describe the task as a [`Problem`], what was tried as a [`History`], and [`Sampler::ask`] what to try next.
//! Everything is a pure function of its arguments, so that a study resumed in a new process asks what it would have asked.
//! `docs/src/explanation/search.md` explains the algorithms and their sources.

mod anneal;
mod autotune;
mod feasible;
pub(crate) mod gp;
mod history;
mod hypervolume;
mod importance;
mod nsga2;
mod pareto;
mod problem;
mod random;
mod region;
mod rng;
mod sampler;
mod stopping;
#[cfg(test)]
mod testing;

pub use autotune::{Promise, predict, promise};
pub use history::{Estimate, History, Observation, TrialState};
pub use hypervolume::hypervolume;
pub use importance::{Sobol, importance};
pub use pareto::{crowding, dominates, knee, nondominated_sort, pareto_front, pareto_front_with_intervals};
pub use problem::{Direction, Objective, Problem, Repeat};
pub use region::{Region, front_hypervolume};
pub use rng::Random;
pub use sampler::{Ask, Sampler, SamplerKind, SearchError};
pub use stopping::{StopReason, should_stop};
