//! Gaussian process regression over points of a space (Rasmussen and Williams 2006), small and exact.

mod fit;
mod kernel;
mod linalg;

pub(crate) use kernel::{Input, tune};

use fit::{Evidence, JITTER, fit};
use kernel::{Kernel, Tables};
use linalg::{Cholesky, dot};

use crate::space::Space;

/// What a process is trained on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Data {
    pub(crate) inputs: Vec<Input>,
    /// In any unit.
    pub(crate) outputs: Vec<f64>,
    /// Standard errors of the outputs, in their unit.
    pub(crate) errors: Vec<f64>,
}

/// A fitted kernel: hyperparameters, and the unit that outputs are standardised to.
#[derive(Clone, Debug)]
pub(crate) struct Fitted {
    kernel: Kernel,
    tables: Tables,
    more: Vec<Tables>,
    center: f64,
    unit: f64,
    /// The negative logarithm of the posterior density of the fit, in the outputs' own unit: smaller explains the data better.
    pub(crate) cost: f64,
}

impl Fitted {
    /// Fits the hyperparameters to data.
    pub(crate) fn new(space: &Space, columns: usize, data: &Data) -> Self {
        let n = data.outputs.len();
        let center = if n == 0 { 0.0 } else { data.outputs.iter().sum::<f64>() / n as f64 };
        let variance = data.outputs.iter().map(|y| (y - center).powi(2)).sum::<f64>() / n.max(1) as f64;
        let unit = if variance > 1e-24 { variance.sqrt() } else { 1.0 };
        let kernel = Kernel::new(space, columns);
        let priors = kernel.priors();
        let outputs: Vec<f64> = data.outputs.iter().map(|y| (y - center) / unit).collect();
        let noise: Vec<f64> = data.errors.iter().map(|e| (e / unit).powi(2)).collect();
        let evidence = Evidence {
            kernel: &kernel,
            inputs: &data.inputs,
            outputs: &outputs,
            noise: &noise,
            priors: &priors,
        };
        let (theta, cost) = fit(&evidence);
        let tables = kernel.tables(&theta);
        let samples = tune("ESS", 0.0) as usize;
        let mut more = Vec::new();
        let mut random = crate::search::Random::new(n as u64, 5, 5);
        let thin = tune("THIN", 5.0) as usize;
        let mut at = theta.clone();
        let ll = |t: &[f64]| {
            let (c, _) = evidence.cost_and_gradient(t);
            -(c - t.iter().zip(&priors).map(|(t, p)| 0.5 * ((t - p.mean) / p.deviation).powi(2)).sum::<f64>())
        };
        let mut here = ll(&at);
        for step in 0..samples * thin {
            let nu: Vec<f64> = priors.iter().map(|p| p.deviation * random.normal()).collect();
            let level = here + (1.0 - random.unit()).ln();
            let mut angle = random.unit() * std::f64::consts::TAU;
            let (mut low, mut high) = (angle - std::f64::consts::TAU, angle);
            for _ in 0..30 {
                let next: Vec<f64> = at
                    .iter()
                    .zip(&nu)
                    .zip(&priors)
                    .map(|((t, v), p)| p.mean + (t - p.mean) * angle.cos() + v * angle.sin())
                    .collect();
                let l = ll(&next);
                if l > level {
                    at = next;
                    here = l;
                    break;
                }
                if angle < 0.0 {
                    low = angle
                } else {
                    high = angle
                }
                angle = low + random.unit() * (high - low);
            }
            if (step + 1) % thin == 0 {
                more.push(kernel.tables(&at));
            }
        }
        Self { kernel, tables, more, center, unit, cost: cost + n as f64 * unit.ln() }
    }

    /// Conditions the process on data; `None` when the matrix has no factor (not seen with the jitter that is added).
    pub(crate) fn condition(&self, data: &Data) -> Option<Process> {
        let first = self.one(&self.tables, data)?;
        let mut rest = Vec::new();
        for t in &self.more {
            rest.push(self.one(t, data)?);
        }
        if !rest.is_empty() {
            let mut f = rest.remove(0);
            f.rest = rest;
            return Some(f);
        }
        Some(first)
    }

    fn one(&self, tables: &Tables, data: &Data) -> Option<Process> {
        let n = data.outputs.len();
        let mut k = self.kernel.matrix(tables, &data.inputs);
        for i in 0..n {
            k[i * n + i] += (data.errors[i] / self.unit).powi(2) + tables.noise + JITTER;
        }
        let factor = Cholesky::new(k, n)?;
        let mut alpha: Vec<f64> = data.outputs.iter().map(|y| (y - self.center) / self.unit).collect();
        factor.solve(&mut alpha);
        let mut fitted = self.clone();
        fitted.tables = tables.clone();
        fitted.more.clear();
        Some(Process { fitted, rest: Vec::new(), inputs: data.inputs.clone(), factor, alpha })
    }
}

/// A process that has seen data.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    fitted: Fitted,
    rest: Vec<Process>,
    inputs: Vec<Input>,
    factor: Cholesky,
    alpha: Vec<f64>,
}

impl Process {
    /// Mean and standard deviation of the noise-free output.
    pub(crate) fn predict(&self, input: &Input) -> (f64, f64) {
        let (m, s) = self.predict_one(input);
        if self.rest.is_empty() {
            return (m, s);
        }
        let (mut a, mut b) = (m, m * m + s * s);
        for p in &self.rest {
            let (m, s) = p.predict_one(input);
            a += m;
            b += m * m + s * s;
        }
        let n = (self.rest.len() + 1) as f64;
        (a / n, (b / n - (a / n).powi(2)).max(0.0).sqrt())
    }

    fn predict_one(&self, input: &Input) -> (f64, f64) {
        let Fitted { kernel, tables, center, unit, .. } = &self.fitted;
        let mut k: Vec<f64> = self.inputs.iter().map(|i| kernel.covariance(tables, input, i)).collect();
        let mean = center + unit * dot(&k, &self.alpha);
        self.factor.forward(&mut k);
        let variance = kernel.covariance(tables, input, input) - dot(&k, &k);
        (mean, unit * variance.max(0.0).sqrt())
    }

    /// The mean alone, which costs a fraction.
    pub(crate) fn mean(&self, input: &Input) -> f64 {
        let Fitted { kernel, tables, center, unit, .. } = &self.fitted;
        let terms = self.inputs.iter().zip(&self.alpha).map(|(i, a)| a * kernel.covariance(tables, input, i));
        center + unit * terms.sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::testing::Table;
    use crate::search::{Problem, Random};

    fn data(n: usize, columns: usize, f: impl Fn(&[usize], &[f64]) -> f64) -> (Table, Data) {
        let table = Table::grid(&[5, 2, 6, 4]);
        let mut random = Random::new(5, 0, 0);
        let mut data = Data::default();
        for _ in 0..n {
            let levels: Vec<usize> =
                table.space().params.iter().map(|p| random.below(p.levels.len())).collect();
            let columns: Vec<f64> = (0..columns).map(|_| random.normal()).collect();
            data.outputs.push(f(&levels, &columns));
            data.errors.push(0.01);
            data.inputs.push(Input { levels, columns });
        }
        (table, data)
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let (table, data) = data(12, 2, |l, c| l[0] as f64 * 0.3 + (l[2] as f64).sin() + c[0]);
        let kernel = Kernel::new(table.space(), 2);
        let priors = kernel.priors();
        let noise = vec![1e-3; 12];
        let evidence = Evidence {
            kernel: &kernel,
            inputs: &data.inputs,
            outputs: &data.outputs,
            noise: &noise,
            priors: &priors,
        };
        let theta: Vec<f64> = priors.iter().enumerate().map(|(i, p)| p.mean + 0.1 * (i % 5) as f64).collect();
        let (_, gradient) = evidence.cost_and_gradient(&theta);
        for i in 0..theta.len() {
            let shifted = |h: f64| {
                let mut t = theta.clone();
                t[i] += h;
                evidence.cost_and_gradient(&t).0
            };
            let difference = (shifted(1e-5) - shifted(-1e-5)) / 2e-5;
            let scale = 1.0 + difference.abs();
            assert!((gradient[i] - difference).abs() < 1e-5 * scale, "{i}: {} {difference}", gradient[i]);
        }
    }

    #[test]
    fn an_additive_function_is_learnt_from_few_points() {
        let f = |l: &[usize], _: &[f64]| l[0] as f64 - 0.5 * l[2] as f64 + if l[1] == 1 { 2.0 } else { 0.0 };
        let (table, data) = data(30, 0, f);
        let process = Fitted::new(table.space(), 0, &data).condition(&data).unwrap();
        let mut worst: f64 = 0.0;
        for number in 0..240 {
            let levels = crate::search::feasible::nth(table.space(), number);
            let truth = f(&levels, &[]);
            let input = Input { levels, columns: vec![] };
            let (mean, deviation) = process.predict(&input);
            assert!((mean - process.mean(&input)).abs() < 1e-9);
            assert!(deviation < 0.5);
            worst = worst.max((mean - truth).abs());
        }
        assert!(worst < 0.3, "{worst}");
    }

    #[test]
    fn constant_and_few_outputs_are_no_trouble() {
        for n in [1, 2, 3] {
            let (table, data) = data(n, 1, |_, _| 4.0);
            let process = Fitted::new(table.space(), 1, &data).condition(&data).unwrap();
            let (mean, deviation) = process.predict(&data.inputs[0]);
            assert!((mean - 4.0).abs() < 0.1 && deviation.is_finite(), "{mean} {deviation}");
        }
    }
}
