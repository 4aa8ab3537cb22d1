//! The declared search space: parameters, their levels, and the candidates made of them.
//!
//! A space is finite: every parameter has a list of levels. Samplers see a candidate as a *point* (one level
//! index per parameter); the rest of the house sees a [`Candidate`] (names and values) or, typed, a [`Config`].

mod candidate;
mod config;
mod declared;
mod facts;
mod file;
mod file_error;
mod fit;
mod known;
mod nearest;
mod param;

pub use candidate::{Candidate, Value};
pub use config::{Config, ConfigError, KvType, WeightPlan, WeightSlot};
pub use facts::{ModelFacts, NoteReason, SpaceFacts, SpaceNote};
pub use file::{LoadedSpace, load_preset, load_space, parse_space, preset_names};
pub use file_error::SpaceFileError;
pub use known::{Parameter, parameters, weight_types};
pub use param::{Param, ParamKind, Point, Space};
