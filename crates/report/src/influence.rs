//! Which parameters move an objective over the whole space, as whoever fitted a model of it found.

use serde::Deserialize;

/// Shares of an objective's variance over the space.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Influence {
    /// The objective's metric.
    pub metric: String,
    /// Of each parameter that was searched.
    pub parameters: Vec<Share>,
}

/// Sobol indices of a parameter (Saltelli et al. 2010).
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Share {
    /// The parameter.
    pub name: String,
    /// On its own, whatever the others are: 0 to 1.
    pub first: f64,
    /// Alone and together with others: 0 to 1.
    pub total: f64,
}
