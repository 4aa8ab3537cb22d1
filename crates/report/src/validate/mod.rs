//! Is an artifact fit to be deployed on a class of machines? Observed in workers of their own, judged by a pure function.
//!
//! [`Plan`] says how a tier runs a model and what it allows; [`Bench`] observes one model under a plan: timing and peak memory, hard
//! prompts and long generations, the divergence from a reference, graded tasks; [`judge()`] turns two [`Observation`]s into [`Check`]s.
//! Opens no store: a file from anywhere can be validated.

mod checks;
mod exercises;
mod judge;
mod observe;
mod plan;

pub use checks::{Check, Status, Verdicts};
pub use exercises::{LONG_TOKENS, exercises};
pub use judge::judge;
pub use observe::{Bench, Graded, Observation, Subject};
pub use plan::{Allowed, Plan};
