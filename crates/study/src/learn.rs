//! The correction of predicted latency from finished trials: a factor that depends on a few traits of a candidate.
//!
//! Bayesian linear regression of the logarithm of measured over predicted latency (Bishop, *Pattern Recognition and Machine Learning*,
//! 3.3 and 3.5): how far the common factor and the traits' own may lie from 1, and how noisy measurements are, is averaged over a grid by
//! the evidence. So traits count where trials show that they do, and without trials the factor is 1. A pure function of the stored
//! trials, so that a resumed study predicts what it would have predicted.

use super::problem::StudyProblem;
use autotune_core::linalg::{Cholesky, dot};
use autotune_core::metric::names;
use autotune_core::space::Config;
use autotune_model::GgmlType;
use autotune_store::TrialRecord;

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
/// What is averaged over: standard deviations of the common factor, of every trait's, and of a measurement, in logarithms.
const COMMON: [f64; 2] = [0.1, 0.3];
const TRAIT: [f64; 4] = [0.01, 0.04, 0.12, 0.3];
const NOISE: [f64; 3] = [0.02, 0.05, 0.1];

/// The fitted factor.
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
                Some((config, t.value(names::PREDICTED_LATENCY_MS)?, t.value(names::REQUEST_LATENCY_P50_MS)?))
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
        Self { weights: averaged(&rows) }
    }

    /// The factor for a candidate; 1 where nothing was fitted.
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

/// The posterior mean of the weights, averaged over the grid by the evidence; empty without rows.
fn averaged(rows: &[(Vec<f64>, f64)]) -> Vec<f64> {
    let Some(n) = rows.first().map(|(x, _)| x.len()) else { return Vec::new() };
    let sums = Sums::of(rows, n);
    let grid =
        COMMON.iter().flat_map(|c| TRAIT.iter().flat_map(move |t| NOISE.iter().map(move |s| (*c, *t, *s))));
    let fits: Vec<(f64, Vec<f64>)> = grid.filter_map(|(c, t, s)| sums.posterior(c, t, s)).collect();
    let best = fits.iter().map(|(evidence, _)| *evidence).fold(f64::NEG_INFINITY, f64::max);
    let (mut total, mut mean) = (0.0, vec![0.0; n]);
    for (evidence, weights) in &fits {
        let share = (evidence - best).exp();
        total += share;
        mean.iter_mut().zip(weights).for_each(|(m, w)| *m += share * w);
    }
    mean.iter_mut().for_each(|m| *m /= total);
    mean
}

/// The sufficient statistics of the rows: `XᵀX` (row-major), `Xᵀy`, `yᵀy` and their number.
struct Sums {
    xx: Vec<f64>,
    xy: Vec<f64>,
    yy: f64,
    rows: f64,
}

impl Sums {
    fn of(rows: &[(Vec<f64>, f64)], n: usize) -> Self {
        let mut sums = Self { xx: vec![0.0; n * n], xy: vec![0.0; n], yy: 0.0, rows: rows.len() as f64 };
        for (x, y) in rows {
            for i in 0..n {
                for j in 0..n {
                    sums.xx[i * n + j] += x[i] * x[j];
                }
                sums.xy[i] += x[i] * y;
            }
            sums.yy += y * y;
        }
        sums
    }

    /// The logarithm of the evidence (up to a constant) and the posterior mean of the weights.
    fn posterior(&self, common: f64, of_trait: f64, noise: f64) -> Option<(f64, Vec<f64>)> {
        let n = self.xy.len();
        let variance = |i: usize| if i == 0 { common * common } else { of_trait * of_trait };
        let precision = 1.0 / (noise * noise);
        let mut a: Vec<f64> = self.xx.iter().map(|v| v * precision).collect();
        for i in 0..n {
            a[i * n + i] += 1.0 / variance(i);
        }
        let factor = Cholesky::new(a, n)?;
        let b: Vec<f64> = self.xy.iter().map(|v| v * precision).collect();
        let mut mean = b.clone();
        factor.solve(&mut mean);
        let fit = self.yy * precision - dot(&b, &mean);
        let spread = factor.log_determinant() + (0..n).map(|i| variance(i).ln()).sum::<f64>();
        Some((-0.5 * (self.rows * (noise * noise).ln() + spread + fit), mean))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::Ceiling;
    use crate::problem::{Bounds, Ceilings, Cost, Quality, objectives};
    use autotune_core::space::{Candidate, Space, Value};
    use autotune_engine::EngineKind;

    #[test]
    fn a_candidate_has_the_traits_of_its_settings() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mock.json");
        let model = serde_json::json!({"mock": 1, "peak_bytes_f16": 1000, "layers": 12, "kv_heads": 4, "ffn": 64, "scripts": []});
        std::fs::write(&path, model.to_string()).unwrap();
        let kit = crate::kit::open(EngineKind::Mock, &path).unwrap();
        let space = Space { name: "s".into(), description: String::new(), params: Vec::new() };
        let ceiling = Ceiling { bytes_per_s: 1e10, flops: 1e11 };
        let problem = StudyProblem::new(
            &space,
            kit.as_ref(),
            "512:128:4".parse().unwrap(),
            Ceilings { one: ceiling, all: ceiling, threads: 4 },
            1 << 30,
            &objectives(Cost::Latency, Quality::Pass1, &Bounds::default()),
        )
        .with_device(10);
        let of = |settings: &[(&str, Value)]| {
            let candidate = settings.iter().fold(Candidate::default(), |c, (k, v)| c.with(k, v.clone()));
            let config = Config { gpu_layers: 0, ..Config::from_candidate(&candidate).unwrap() };
            traits(&problem, &config).unwrap()[..8].to_vec()
        };
        let text = |s: &str| Value::Text(s.into());
        let plain = [
            ("threads", Value::Int(4)),
            ("batch", Value::Int(1)),
            ("ubatch", Value::Int(512)),
            ("repack", Value::Bool(true)),
        ];
        let but = |name: &str, value: Value| {
            let others = plain.iter().filter(|(known, _)| *known != name).cloned();
            of(&others.chain([(name, value)]).collect::<Vec<_>>())
        };
        // All alike; slots (half of their binary logarithm), small micro-batch, V and K quantized, not repacked, share of threads, of layers.
        assert_eq!(of(&plain), [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        assert_eq!(but("batch", Value::Int(4)), [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        assert_eq!(but("batch", Value::Int(2)), [1.0, 0.5, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        assert_eq!(but("batch", Value::Int(64))[1], 1.0, "no more slots than requests");
        assert_eq!(but("ubatch", Value::Int(128)), [1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
        assert_eq!(but("kv.v", text("q8_0")), [1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0]);
        assert_eq!(but("kv.k", text("q8_0")), [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0]);
        assert_eq!(but("repack", Value::Bool(false)), [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0]);
        assert_eq!(but("threads", Value::Int(1)), [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.25, 0.0]);
        let config = Config { gpu_layers: 5, ..Config::from_candidate(&Candidate::default()).unwrap() };
        assert_eq!(traits(&problem, &config).unwrap()[7], 0.5);
    }

    #[test]
    fn a_common_factor_is_learnt_first_and_traits_with_evidence() {
        assert!(averaged(&[]).is_empty());
        let common: Vec<(Vec<f64>, f64)> = (0..5).map(|_| (vec![1.0, 0.0], 0.3)).collect();
        let w = averaged(&common);
        assert!((w[0] - 0.3).abs() < 0.02 && w[1].abs() < 1e-9, "{w:?}");
        let mixed: Vec<(Vec<f64>, f64)> =
            (0..20).map(|i| (vec![1.0, f64::from(i % 2)], 0.3 - 0.2 * f64::from(i % 2))).collect();
        let w = averaged(&mixed);
        assert!((w[0] - 0.3).abs() < 0.02 && (w[1] + 0.2).abs() < 0.02, "{w:?}");
    }

    #[test]
    fn traits_that_explain_nothing_do_not_move_the_factor() {
        // Errors of 5 % without a pattern, in eight trials with six traits.
        let errors = [0.05, -0.05, 0.04, -0.03, -0.05, 0.05, 0.02, -0.03];
        let rows: Vec<(Vec<f64>, f64)> = errors
            .iter()
            .enumerate()
            .map(|(i, e)| {
                (
                    (0..7).map(|k| if k == 0 { 1.0 } else { f64::from((i >> (k % 3)) as u32 & 1) }).collect(),
                    *e,
                )
            })
            .collect();
        let weights = averaged(&rows);
        assert!(weights.iter().all(|w| w.abs() < 0.03), "{weights:?}");
    }
}
