//! How damage becomes loss: `p_i = p_ref * exp(-s_i * damage_i)`, with a scale `s_i` that scatters from candidate to candidate, and some
//! candidates that follow no relation.
//!
//! The default comes from recorded grades of one model (docs/src/project/benchmarks/study.md, SmolLM2-135M-Instruct on 50 tasks, 31 artifacts with a mean
//! divergence of 0.003 to 1.3 nats a token): `-ln(p / p_ref)` grows in proportion to the divergence, 2.3 to one by maximum likelihood, and
//! binomial noise explains nearly all of the rest (scatter 0.1; up to 0.4 within two units of log likelihood). The prior is wider than
//! that on purpose: other models and tasks were not measured.

/// The median of the scale `s` before a study has told anything.
const SCALE: f64 = 2.4;
/// The standard deviation of its logarithm: other models and other tasks answer otherwise.
const SCALE_SPREAD: f64 = 0.8;
const SCALES: usize = 13;
/// Scatter of single candidates (standard deviation of the logarithm of their scale), with its prior.
const SCATTERS: [(f64, f64); 3] = [(0.3, 0.35), (0.6, 0.4), (1.1, 0.25)];
/// The share of candidates that follow no relation, with its prior.
const EXCEPTIONS: [(f64, f64); 3] = [(0.02, 0.6), (0.1, 0.3), (0.35, 0.1)];
/// The loss of an exception: Laplace around zero, cut to what a rate allows. Its mean size is this one from a damage of
/// [`EXCEPTION_DAMAGE`] on, and less with the square root of a smaller one: by Pinsker's inequality the probability of any answer changes by
/// no more than `sqrt(KL / 2)`, so what is next to the reference cannot be far better or worse.
const EXCEPTION_SIZE: f64 = 0.08;
const EXCEPTION_DAMAGE: f64 = 0.02;
/// Of the exceptions, this share is better than the uncompressed model.
const IMPROVING: f64 = 0.15;
/// A candidate whose damage nobody measured is taken to have this one, give or take a factor of seven.
const UNKNOWN: (f64, f64) = (0.03, 2.0);
/// Under this damage two models are the same for all that can be told.
const LEAST_DAMAGE: f64 = 1e-6;

/// The grid of `-ln(p / p_ref)`: geometric between these.
const FIRST: f64 = 3e-6;
const LAST: f64 = 20.0;
pub(super) const NODES: usize = 144;
/// The grid of losses of exceptions, even over what a rate allows.
pub(super) const EXCEPTION_NODES: usize = 81;

/// Scale, scatter and share of exceptions of a study, one point of their grid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Relation {
    pub(super) scale: f64,
    pub(super) scatter: f64,
    pub(super) exceptions: f64,
    /// Logarithm of its prior probability.
    pub(super) log_prior: f64,
}

/// All points of the grid.
pub(super) fn relations() -> Vec<Relation> {
    let mut all = Vec::with_capacity(SCALES * SCATTERS.len() * EXCEPTIONS.len());
    for i in 0..SCALES {
        let z = -2.4 + 4.8 * i as f64 / (SCALES - 1) as f64;
        for (scatter, p) in SCATTERS {
            for (exceptions, q) in EXCEPTIONS {
                let scale = (SCALE.ln() + SCALE_SPREAD * z).exp();
                let log_prior = -0.5 * z * z + p.ln() + q.ln();
                all.push(Relation { scale, scatter, exceptions, log_prior });
            }
        }
    }
    all
}

/// The width of a cell of the grid, as a logarithm.
pub(super) fn step() -> f64 {
    (LAST / FIRST).ln() / (NODES - 1) as f64
}

/// The nodes of `-ln(p / p_ref)`.
pub(super) fn nodes() -> Vec<f64> {
    (0..NODES).map(|i| FIRST * (step() * i as f64).exp()).collect()
}

/// The loss at a node, where the reference's rate is `rate`.
pub(super) fn loss(node: f64, rate: f64) -> f64 {
    -rate * (-node).exp_m1()
}

/// The prior probability of each node for a candidate of this damage.
pub(super) fn prior(damage: Option<f64>, relation: &Relation) -> Vec<f64> {
    let (damage, scatter) = match damage {
        Some(damage) => (damage.max(LEAST_DAMAGE), relation.scatter),
        None => (UNKNOWN.0, relation.scatter.hypot(UNKNOWN.1)),
    };
    let middle = (relation.scale * damage).ln();
    let (first, step) = (FIRST.ln(), step());
    let mut weights: Vec<f64> =
        (0..NODES).map(|i| (-0.5 * ((first + step * i as f64 - middle) / scatter).powi(2)).exp()).collect();
    // A divergence beyond the grid belongs to its end.
    if middle < first {
        weights[0] = weights[0].max(f64::MIN_POSITIVE);
    } else if middle > LAST.ln() {
        weights[NODES - 1] = weights[NODES - 1].max(f64::MIN_POSITIVE);
    }
    normalized(weights)
}

/// The loss of an exception at a place of its grid, which need not be a node: quadratic, so that small ones are resolved.
pub(super) fn exception_at(place: f64, rate: f64) -> f64 {
    let u = (2.0 * place / (EXCEPTION_NODES - 1) as f64 - 1.0).clamp(-1.0, 1.0);
    u * u.abs() * if u < 0.0 { 1.0 - rate } else { rate }
}

/// The losses of exceptions.
pub(super) fn exceptions(rate: f64) -> Vec<f64> {
    (0..EXCEPTION_NODES).map(|i| exception_at(i as f64, rate)).collect()
}

/// Their prior probabilities for a candidate of this damage.
pub(super) fn exception_prior(damage: Option<f64>, rate: f64) -> Vec<f64> {
    let near = damage.map_or(1.0, |d| (d.max(LEAST_DAMAGE) / EXCEPTION_DAMAGE).sqrt().min(1.0));
    let size = EXCEPTION_SIZE * near;
    let weights = (0..EXCEPTION_NODES)
        .map(|i| {
            let at = |shift: f64| exception_at(i as f64 + shift, rate);
            // The mass between the middles of neighbouring nodes.
            let mass = |from: f64, to: f64| ((-from.abs() / size).exp() - (-to.abs() / size).exp()).abs();
            let (low, high) = (at(-0.5), at(0.5));
            let share = |above: bool| if above { 1.0 - IMPROVING } else { IMPROVING };
            match (low < 0.0, high > 0.0) {
                (true, true) => share(false) * mass(low, 0.0) + share(true) * mass(0.0, high),
                (_, above) => share(above) * mass(low, high),
            }
        })
        .collect();
    normalized(weights)
}

fn normalized(mut weights: Vec<f64>) -> Vec<f64> {
    let sum: f64 = weights.iter().sum();
    for weight in &mut weights {
        *weight /= sum;
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priors_are_distributions_whatever_the_damage() {
        let relation = relations()[0];
        for damage in [None, Some(0.0), Some(1e-9), Some(0.05), Some(30.0), Some(1e9)] {
            let prior = prior(damage, &relation);
            assert!((prior.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{damage:?}");
        }
        let losses = exceptions(0.3);
        assert!((losses[0] + 0.7).abs() < 1e-12 && (losses[EXCEPTION_NODES - 1] - 0.3).abs() < 1e-12);
        let size = |damage| -> f64 {
            let prior = exception_prior(damage, 0.3);
            assert!((prior.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{damage:?}");
            prior.iter().zip(&losses).map(|(p, l)| p * l.abs()).sum()
        };
        // The less the damage, the less an exception can be off.
        assert!((size(None) - 0.08).abs() < 0.01 && (size(Some(0.0005)) - 0.0127).abs() < 0.003);
        assert!(size(Some(0.0)) < 0.002);
    }

    #[test]
    fn the_default_is_what_recorded_grades_say() {
        // docs/src/project/benchmarks/study.md: of 54 % the candidates with these divergences keep so many.
        let middle = |damage: f64| 0.54 - loss(SCALE * damage, 0.54);
        for (damage, passed) in
            [(0.0043, 0.54), (0.0480, 0.52), (0.2166, 0.38), (0.4436, 0.20), (0.955, 0.06)]
        {
            assert!((middle(damage) - passed).abs() < 0.09, "{damage}: {}", middle(damage));
        }
    }
}
