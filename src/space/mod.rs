//! The declared search space: parameters, their levels, and the candidates made of them.
//!
//! A space is finite: every parameter has a list of levels. Samplers see a candidate as a *point* (one level
//! index per parameter); the rest of the house sees a [`Candidate`] (names and values) or, typed, a [`Config`].

mod candidate;
mod config;
mod param;

pub use candidate::{Candidate, Value};
pub use config::{Config, ConfigError, KvType, WeightPlan, WeightSlot};
pub use param::{Param, ParamKind, Point, Space};
