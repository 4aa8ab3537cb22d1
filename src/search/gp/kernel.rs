//! The covariance of two inputs: an ANOVA kernel over the parameters' levels, and linear and smooth terms over columns.
//!
//! `k(x, x') = s² Π_d (1 + a_d k_d(x_d, x'_d)) + Σ_j (b_j z_j z'_j + c_j m(z_j, z'_j))`
//!
//! Multiplied out, the product is a constant, the parameters' own effects (weights `s² a_d`), their pairs (`s² a_d a_e`) and so
//! on (Stitson et al. 1999; Durrande et al. 2012): a large `s` with small `a` is an additive function, which few trials
//! determine; a small `s` with large `a` lets everything interact. The data choose. `k_d` is Matérn 5/2 on the scaled rank for
//! ordered parameters and equality for the others; since levels are few, each `k_d` is a small table.

use super::linalg::dot;
use crate::space::{ParamKind, Space};

/// One input: the levels, and the columns (standardised).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Input {
    pub(crate) levels: Vec<usize>,
    pub(crate) columns: Vec<f64>,
}

/// One parameter that has a choice.
#[derive(Clone, Debug)]
struct Axis {
    /// Its index in the space.
    param: usize,
    levels: usize,
    /// Whether neighbouring levels are alike. Two levels have no order to speak of.
    ordered: bool,
}

/// Which hyperparameters there are, and where: `[ln s², (ln a, [ln length]) per axis, (ln b, ln c, ln length) per column, ln noise]`.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    axes: Vec<Axis>,
    columns: usize,
}

/// A Gaussian over the logarithm of a hyperparameter; its mean is also where fits start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HyperPrior {
    pub(crate) mean: f64,
    pub(crate) deviation: f64,
}

/// The kernel at one setting of the hyperparameters.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    scale: f64,
    /// `1 + a k(l, l')` for each axis.
    factor: Vec<Vec<f64>>,
    /// The derivatives of the logarithm of that factor by `ln a` and by `ln length`.
    by_weight: Vec<Vec<f64>>,
    by_length: Vec<Vec<f64>>,
    by_bend: Vec<Vec<f64>>,
    /// `b`, `c`, `length` for each column.
    columns: Vec<[f64; 3]>,
    /// The variance of independent noise on top of the known one.
    pub(crate) noise: f64,
}

impl Kernel {
    pub(crate) fn new(space: &Space, columns: usize) -> Self {
        let axes = space
            .params
            .iter()
            .enumerate()
            .filter(|(_, p)| p.levels.len() > 1)
            .map(|(param, p)| Axis {
                param,
                levels: p.levels.len(),
                ordered: p.kind == ParamKind::Ordinal && p.levels.len() > 2,
            })
            .collect();
        Self { axes, columns }
    }

    /// The priors of all hyperparameters, for outputs of about unit variance.
    pub(crate) fn priors(&self) -> Vec<HyperPrior> {
        let prior = |value: f64, deviation| HyperPrior { mean: value.ln(), deviation };
        let mut priors = vec![prior(tune("S2", 2.0), tune("S2D", 1.5))];
        for axis in &self.axes {
            priors.push(prior(tune("A", 0.5) / self.axes.len() as f64, tune("AD", 1.5)));
            if axis.ordered {
                priors.push(prior(tune("L", 0.7), tune("LD", 0.8)));
                priors.push(prior(tune("P", 1.0), tune("PD", 0.5)));
            }
        }
        for _ in 0..self.columns {
            priors.extend([prior(0.3, 1.5), prior(0.1, 1.5), prior(1.0, 0.5)]);
        }
        priors.push(prior(tune("N", 1e-3), 1.5));
        priors
    }

    /// The tables at hyperparameters `theta`.
    pub(crate) fn tables(&self, theta: &[f64]) -> Tables {
        // Far outside of what the priors hold possible, so that no step of a line search overflows.
        let mut values = theta.iter().map(|t| t.clamp(-16.0, 10.0).exp());
        let mut next = || values.next().unwrap_or(1.0);
        let scale = next();
        let mut tables = Tables {
            scale,
            factor: Vec::new(),
            by_weight: Vec::new(),
            by_length: Vec::new(),
            by_bend: Vec::new(),
            columns: Vec::new(),
            noise: 0.0,
        };
        let rho = tune("RHO", 0.1);
        for axis in &self.axes {
            let weight = next();
            let (length, bend) = if axis.ordered { (next(), next()) } else { (1.0, 1.0) };
            let n = axis.levels;
            let cells = if axis.ordered { n * n } else { 0 };
            let (mut factor, mut by_weight) = (vec![0.0; n * n], vec![0.0; n * n]);
            let (mut by_length, mut by_bend) = (vec![0.0; cells], vec![0.0; cells]);
            // The place of a level on the axis, and its derivative by the logarithm of the bend.
            let place = |level: usize| {
                let rank = level as f64 / (n - 1) as f64;
                let at = rank.powf(bend);
                (at, if rank > 0.0 { bend * rank.ln() * at } else { 0.0 })
            };
            for a in 0..n {
                for b in 0..n {
                    let same = f64::from(u8::from(a == b));
                    let mut k = same;
                    let (mut by_l, mut by_b) = (0.0, 0.0);
                    if axis.ordered {
                        let ((x, dx), (y, dy)) = (place(a), place(b));
                        let (m, slope) = matern((x - y).abs(), length);
                        k = (1.0 - rho) * m + rho * same;
                        by_l = (1.0 - rho) * slope;
                        if x != y {
                            // The kernel depends on distance / length: what lengthens one shortens the other.
                            by_b = -(1.0 - rho) * slope * (dx - dy) / (x - y);
                        }
                    }
                    if tune("PROD", 0.0) > 0.0 {
                        // plain product: weight acts as a floor-free mixing
                        let f = if axis.ordered {
                            k
                        } else if a == b {
                            1.0
                        } else {
                            (-weight).exp()
                        };
                        factor[a * n + b] = f;
                        by_weight[a * n + b] = if axis.ordered || a == b { 0.0 } else { -weight };
                        if axis.ordered {
                            by_length[a * n + b] = by_l / f;
                            by_bend[a * n + b] = by_b / f;
                        }
                        continue;
                    }
                    let f = 1.0 + weight * k;
                    factor[a * n + b] = f;
                    by_weight[a * n + b] = weight * k / f;
                    if axis.ordered {
                        by_length[a * n + b] = weight * by_l / f;
                        by_bend[a * n + b] = weight * by_b / f;
                    }
                }
            }
            tables.factor.push(factor);
            tables.by_weight.push(by_weight);
            tables.by_length.push(by_length);
            tables.by_bend.push(by_bend);
        }
        for _ in 0..self.columns {
            tables.columns.push([next(), next(), next()]);
        }
        tables.noise = next();
        tables
    }

    /// The covariance of two inputs, without noise.
    pub(crate) fn covariance(&self, tables: &Tables, a: &Input, b: &Input) -> f64 {
        self.product(tables, a, b) + self.column_terms(tables, a, b)
    }

    fn product(&self, tables: &Tables, a: &Input, b: &Input) -> f64 {
        let mut k = tables.scale;
        for (axis, factor) in self.axes.iter().zip(&tables.factor) {
            k *= factor[a.levels[axis.param] * axis.levels + b.levels[axis.param]];
        }
        k
    }

    fn column_terms(&self, tables: &Tables, a: &Input, b: &Input) -> f64 {
        let mut k = 0.0;
        for ((x, y), [linear, smooth, length]) in a.columns.iter().zip(&b.columns).zip(&tables.columns) {
            k += linear * x * y + smooth * matern((x - y).abs(), *length).0;
        }
        k
    }

    /// The covariance matrix of inputs, without noise; the lower triangle is filled.
    pub(crate) fn matrix(&self, tables: &Tables, inputs: &[Input]) -> Vec<f64> {
        let n = inputs.len();
        let mut k = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..=i {
                k[i * n + j] = self.covariance(tables, &inputs[i], &inputs[j]);
            }
        }
        k
    }

    /// `½ Σ_ij w_ij ∂k_ij/∂θ` for every hyperparameter θ; `w` is symmetric.
    pub(crate) fn gradient(&self, tables: &Tables, inputs: &[Input], w: &[f64]) -> Vec<f64> {
        let n = inputs.len();
        let mut scale = 0.0;
        // Σ w_ij k_ij over the pairs that have a pair of levels, per axis: the tables' derivatives then weigh sums, not pairs.
        let mut sums: Vec<Vec<f64>> = self.axes.iter().map(|a| vec![0.0; a.levels * a.levels]).collect();
        let mut columns = vec![[0.0; 3]; self.columns];
        let mut noise = 0.0;
        for i in 0..n {
            noise += 0.5 * w[i * n + i] * tables.noise;
            for j in 0..=i {
                let weight = w[i * n + j] * if i == j { 0.5 } else { 1.0 };
                let (a, b) = (&inputs[i], &inputs[j]);
                let k = weight * self.product(tables, a, b);
                scale += k;
                for (axis, sum) in self.axes.iter().zip(&mut sums) {
                    sum[a.levels[axis.param] * axis.levels + b.levels[axis.param]] += k;
                }
                for (c, sum) in columns.iter_mut().enumerate() {
                    let [linear, smooth, length] = tables.columns[c];
                    let (x, y) = (a.columns[c], b.columns[c]);
                    let (m, slope) = matern((x - y).abs(), length);
                    sum[0] += weight * linear * x * y;
                    sum[1] += weight * smooth * m;
                    sum[2] += weight * smooth * slope;
                }
            }
        }
        let mut gradient = vec![scale];
        for (d, axis) in self.axes.iter().enumerate() {
            gradient.push(dot(&sums[d], &tables.by_weight[d]));
            if axis.ordered {
                gradient.push(dot(&sums[d], &tables.by_length[d]));
                gradient.push(dot(&sums[d], &tables.by_bend[d]));
            }
        }
        gradient.extend(columns.iter().flatten());
        gradient.push(noise);
        gradient
    }
}

pub(crate) fn tune(name: &str, default: f64) -> f64 {
    std::env::var(format!("AUTOTUNE_TRY_{name}")).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// Matérn 5/2 at a distance, and its derivative by the logarithm of the length.
fn matern(distance: f64, length: f64) -> (f64, f64) {
    let r = 5f64.sqrt() * distance / length;
    let e = (-r).exp();
    ((1.0 + r + r * r / 3.0) * e, r * r * (1.0 + r) / 3.0 * e)
}
