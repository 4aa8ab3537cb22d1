//! What finished trials teach the prediction of latency: a factor that depends on a few traits of a candidate.
//!
//! Ridge regression of the logarithm of measured over predicted latency: without trials the factor is 1, and with few it stays near
//! their common factor. A pure function of the stored trials, so that a resumed study predicts what it would have predicted.

use super::problem::StudyProblem;
use crate::model::GgmlType;
use crate::space::Config;
use crate::store::TrialRecord;

/// The types whose kernels may each be off in their own way.
const TYPES: [GgmlType; 8] = [
    GgmlType::F16,
    GgmlType::Q8_0,
    GgmlType::Q6_K,
    GgmlType::Q5_1,
    GgmlType::Q4_K,
    GgmlType::Q4_0,
    GgmlType::Iq4Nl,
    GgmlType::Q3_K,
];
/// Strength of the pull to zero: of the common factor, and of every trait's.
const PULL_COMMON: f64 = 0.02;
const PULL_TRAIT: f64 = 0.25;

/// The learnt factor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Correction {
    weights: Vec<f64>,
}

impl Correction {
    /// Learns from the trials that have both a prediction and a measurement.
    #[must_use]
    pub fn learn(problem: &StudyProblem<'_>, trials: &[TrialRecord]) -> Self {
        let seen: Vec<(Config, f64, f64)> = trials
            .iter()
            .filter_map(|t| {
                let config = Config::from_candidate(&t.candidate).ok()?;
                Some((config, t.value("predicted_latency_ms")?, t.value("request_latency_p50_ms")?))
            })
            .collect();
        Self::fit(problem, &seen)
    }

    /// Learns from configurations with their predicted and their measured latency, in milliseconds.
    #[must_use]
    pub fn fit(problem: &StudyProblem<'_>, seen: &[(Config, f64, f64)]) -> Self {
        let rows: Vec<(Vec<f64>, f64)> = seen
            .iter()
            .filter_map(|(config, predicted, measured)| {
                let target = (measured / predicted).ln();
                Some((traits(problem, config)?, target)).filter(|_| target.is_finite())
            })
            .collect();
        Self { weights: ridge(&rows) }
    }

    /// The factor for a candidate; 1 where nothing was learnt.
    #[must_use]
    pub fn factor(&self, problem: &StudyProblem<'_>, config: &Config) -> f64 {
        match traits(problem, config) {
            Some(traits) if traits.len() == self.weights.len() => {
                traits.iter().zip(&self.weights).map(|(x, w)| x * w).sum::<f64>().exp()
            }
            _ => 1.0,
        }
    }
}

/// What distinguishes candidates whose predictions err differently; the first is common to all.
fn traits(problem: &StudyProblem<'_>, config: &Config) -> Option<Vec<f64>> {
    let shape = problem.kit.shape(config).ok()?;
    let slots = f64::from(config.batch.clamp(1, problem.workload.requests.max(1)));
    let all: u64 = shape.matrices.iter().filter(|m| !m.output).map(|m| m.weights).sum();
    let mut traits = vec![
        1.0,
        slots.log2() / 2.0,
        if config.ubatch < 256 { 1.0 } else { 0.0 },
        if config.kv_v.is_quantized() { 1.0 } else { 0.0 },
        if config.kv_k.is_quantized() { 1.0 } else { 0.0 },
        if config.repack { 0.0 } else { 1.0 },
        f64::from(config.threads) / f64::from(problem.ceilings.threads.max(1)),
        f64::from(config.gpu_layers) / f64::from(problem.device_layers.max(1)),
    ];
    traits.extend(TYPES.map(|ty| {
        let of: u64 = shape.matrices.iter().filter(|m| !m.output && m.ty == ty).map(|m| m.weights).sum();
        of as f64 / all.max(1) as f64
    }));
    Some(traits)
}

/// Weights that minimise the squared errors plus the pull; empty without rows.
fn ridge(rows: &[(Vec<f64>, f64)]) -> Vec<f64> {
    let Some(n) = rows.first().map(|(x, _)| x.len()) else { return Vec::new() };
    // The normal equations, with the right side as the last column.
    let mut system = vec![vec![0.0; n + 1]; n];
    for (i, row) in system.iter_mut().enumerate() {
        row[i] = if i == 0 { PULL_COMMON } else { PULL_TRAIT };
    }
    for (x, y) in rows {
        for i in 0..n {
            for j in 0..n {
                system[i][j] += x[i] * x[j];
            }
            system[i][n] += x[i] * y;
        }
    }
    // Gauss-Jordan; the pull makes every pivot positive.
    for i in 0..n {
        let pivot = system[i].clone();
        for (k, row) in system.iter_mut().enumerate() {
            if k != i {
                let factor = row[i] / pivot[i];
                row.iter_mut().zip(&pivot).for_each(|(value, p)| *value -= factor * p);
            }
        }
    }
    (0..n).map(|i| system[i][n] / system[i][i]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_common_factor_is_learnt_first_and_traits_with_evidence() {
        assert!(ridge(&[]).is_empty());
        let common: Vec<(Vec<f64>, f64)> = (0..5).map(|_| (vec![1.0, 0.0], 0.3)).collect();
        let w = ridge(&common);
        assert!((w[0] - 0.3).abs() < 0.01 && w[1].abs() < 1e-9, "{w:?}");
        let mixed: Vec<(Vec<f64>, f64)> =
            (0..20).map(|i| (vec![1.0, f64::from(i % 2)], 0.3 - 0.2 * f64::from(i % 2))).collect();
        let w = ridge(&mixed);
        assert!((w[0] - 0.3).abs() < 0.02 && (w[1] + 0.2).abs() < 0.02, "{w:?}");
    }
}
