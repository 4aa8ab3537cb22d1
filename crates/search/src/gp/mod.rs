//! Gaussian process regression over points of a space (Rasmussen and Williams 2006), small and exact.

mod covariance;
mod fit;
mod kernel;

pub(crate) use kernel::Input;

use autotune_core::linalg::{Cholesky, LANES, dot};
use fit::{Evidence, JITTER, fit};
use kernel::{Inputs, Kernel, Tables};

use autotune_core::space::Space;

/// What a process is trained on.
#[derive(Clone, Debug, Default, PartialEq)]
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
        let inputs = Inputs::new(&data.inputs);
        let evidence = Evidence {
            kernel: &kernel,
            each: &data.inputs,
            inputs: &inputs,
            outputs: &outputs,
            noise: &noise,
            priors: &priors,
        };
        let (theta, cost) = fit(&evidence);
        let tables = kernel.tables(&theta);
        Self { kernel, tables, center, unit, cost: cost + n as f64 * unit.ln() }
    }

    /// Conditions the process on data; `None` when the matrix has no factor (not seen with the jitter that is added).
    pub(crate) fn condition(&self, data: &Data) -> Option<Process> {
        let n = data.outputs.len();
        let inputs = Inputs::new(&data.inputs);
        let mut k = self.kernel.matrix(&self.tables, &data.inputs, &inputs);
        for i in 0..n {
            k[i * n + i] += (data.errors[i] / self.unit).powi(2) + self.tables.noise + JITTER;
        }
        let factor = Cholesky::new(k, n)?;
        let mut alpha: Vec<f64> = data.outputs.iter().map(|y| (y - self.center) / self.unit).collect();
        factor.solve(&mut alpha);
        Some(Process { fitted: self.clone(), inputs, factor, alpha })
    }
}

/// A process that has seen data.
#[derive(Clone, Debug)]
pub(crate) struct Process {
    fitted: Fitted,
    inputs: Inputs,
    factor: Cholesky,
    alpha: Vec<f64>,
}

impl Process {
    /// Mean and standard deviation of the noise-free output of every input.
    pub(crate) fn predict(&self, each: &[Input]) -> Vec<(f64, f64)> {
        let Fitted { kernel, tables, center, unit, .. } = &self.fitted;
        let mut rows = vec![vec![0.0; self.alpha.len()]; LANES];
        let mut lanes = vec![[0.0; LANES]; self.alpha.len()];
        let mut predicted = Vec::with_capacity(each.len());
        for chunk in each.chunks(LANES) {
            for (x, row) in chunk.iter().zip(&mut rows) {
                kernel.row(tables, x, &self.inputs, row);
            }
            for (i, lane) in lanes.iter_mut().enumerate() {
                *lane = std::array::from_fn(|l| rows[l][i]);
            }
            self.factor.forward_lanes(&mut lanes);
            let mut explained = [0.0; LANES];
            for lane in &lanes {
                explained.iter_mut().zip(lane).for_each(|(e, x)| *e += x * x);
            }
            for ((x, row), explained) in chunk.iter().zip(&rows).zip(explained) {
                let variance = (kernel.variance(tables, x) - explained).max(0.0);
                predicted.push((center + unit * dot(row, &self.alpha), unit * variance.sqrt()));
            }
        }
        predicted
    }

    /// The standard deviation of what neither the input nor the known errors explain.
    pub(crate) fn noise(&self) -> f64 {
        self.fitted.unit * self.fitted.tables.noise.sqrt()
    }

    /// The mean alone of every input, which costs a fraction.
    pub(crate) fn means(&self, each: &[Input]) -> Vec<f64> {
        let Fitted { kernel, tables, center, unit, .. } = &self.fitted;
        let mut row = vec![0.0; self.alpha.len()];
        let mut mean = |x: &Input| {
            kernel.row(tables, x, &self.inputs, &mut row);
            center + unit * dot(&row, &self.alpha)
        };
        each.iter().map(&mut mean).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Table;
    use crate::{Problem, Random};

    fn data(n: usize, columns: usize, f: impl Fn(&[usize], &[f64]) -> f64) -> (Table, Data) {
        let table = Table::grid(&[5, 2, 6, 4, 5]);
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
        let inputs = Inputs::new(&data.inputs);
        let evidence = Evidence {
            kernel: &kernel,
            each: &data.inputs,
            inputs: &inputs,
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
        for number in (0..1200).step_by(5) {
            let levels = crate::feasible::nth(table.space(), number);
            let truth = f(&levels, &[]);
            let input = Input { levels, columns: vec![] };
            let inputs = [input];
            let (mean, deviation) = process.predict(&inputs)[0];
            assert!((mean - process.means(&inputs)[0]).abs() < 1e-9);
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
            let (mean, deviation) = process.predict(&data.inputs[..1])[0];
            assert!((mean - 4.0).abs() < 0.1 && deviation.is_finite(), "{mean} {deviation}");
        }
    }
}
