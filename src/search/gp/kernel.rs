//! The covariance of two inputs: an ANOVA kernel over the parameters' levels, and linear and smooth terms over columns.
//!
//! `k(x, x') = s² Π_d (1 + a_d k_d(x_d, x'_d)) + Σ_F e_F Σ_{g,h ∈ F} w_g w_h k_F(x_g, x'_h) + Σ_j (b_j z_j z'_j + c_j m(z_j, z'_j))`
//!
//! Multiplied out, the product is a constant, the parameters' own effects (weights `s² a_d`), their pairs (`s² a_d a_e`) and so
//! on (Stitson et al. 1999; Durrande et al. 2012): a large `s` with small `a` is an additive function, which few trials
//! determine; a small `s` with large `a` lets everything interact. The data choose. `k_d` is Matérn 5/2 on the scaled rank for
//! ordered parameters and equality for the others; since levels are few, each `k_d` is a small table.
//!
//! A family `F` is the parameters that have the same levels, as the weight types of several groups of layers have. Its term is the
//! covariance of `Σ_g w_g f(x_g)` with one unknown `f` for all: what a type does to one group tells what it does to the others, and
//! every trial shows `f` at several levels at once (a multi-task kernel of rank one, Bonilla, Chai and Williams 2008, over tasks
//! that are added up).

use super::linalg::dot;
use crate::space::{Param, ParamKind, Space};

/// The share of plain equality in the covariance of ordered levels: each may be a little off what its neighbours tell.
const EQUALITY: f64 = 0.1;

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

/// Parameters with the same levels: the weight types of several groups of layers, say.
#[derive(Clone, Debug)]
struct Family {
    /// Their indices in the space.
    params: Vec<usize>,
    levels: usize,
    ordered: bool,
}

/// Which hyperparameters there are, and where: `[ln s², (ln a, [ln length, ln bend]) per axis, (ln e, [ln length, ln bend], ln w per
/// member) per family, (ln b, ln c, ln length) per column, ln noise]`.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    axes: Vec<Axis>,
    families: Vec<Family>,
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
    families: Vec<FamilyTable>,
    /// `b`, `c`, `length` for each column.
    columns: Vec<[f64; 3]>,
    /// The variance of independent noise on top of the known one.
    pub(crate) noise: f64,
}

/// A family at one setting.
#[derive(Clone, Debug)]
struct FamilyTable {
    /// `e k(l, l')`, and its derivatives by `ln length` and `ln bend` (empty without an order).
    cells: Cells,
    weights: Vec<f64>,
}

/// A covariance of levels, row by row, with its derivatives by the logarithms of its length and its bend.
#[derive(Clone, Debug, Default)]
struct Cells {
    value: Vec<f64>,
    by_length: Vec<f64>,
    by_bend: Vec<f64>,
}

impl Cells {
    /// Matérn 5/2 on the bent rank with a share of plain equality, or equality alone where there is no order.
    fn new(n: usize, shape: Option<(f64, f64)>) -> Self {
        let same = |a: usize, b: usize| f64::from(u8::from(a == b));
        let Some((length, bend)) = shape else {
            let value = (0..n * n).map(|i| same(i / n, i % n)).collect();
            return Self { value, ..Self::default() };
        };
        // The place of a level on the axis, and its derivative by the logarithm of the bend.
        let place = |level: usize| {
            let rank = level as f64 / (n - 1) as f64;
            let at = rank.powf(bend);
            (at, if rank > 0.0 { bend * rank.ln() * at } else { 0.0 })
        };
        let rho = tune("RHO", EQUALITY);
        let mut cells = Self::default();
        for (a, b) in (0..n * n).map(|i| (i / n, i % n)) {
            let ((x, dx), (y, dy)) = (place(a), place(b));
            let (m, slope) = matern((x - y).abs(), length);
            cells.value.push((1.0 - rho) * m + rho * same(a, b));
            cells.by_length.push((1.0 - rho) * slope);
            // The kernel depends on distance / length: what lengthens one shortens the other.
            cells.by_bend.push(if x == y { 0.0 } else { -(1.0 - rho) * slope * (dx - dy) / (x - y) });
        }
        cells
    }

    fn scale(mut self, by: f64) -> Self {
        for cells in [&mut self.value, &mut self.by_length, &mut self.by_bend] {
            cells.iter_mut().for_each(|c| *c *= by);
        }
        self
    }
}

impl Kernel {
    pub(crate) fn new(space: &Space, columns: usize) -> Self {
        let ordered = |p: &Param| p.kind == ParamKind::Ordinal && p.levels.len() > 2;
        let mut families: Vec<Family> = Vec::new();
        for (i, p) in space.params.iter().enumerate().filter(|(_, p)| p.levels.len() > 2) {
            let alike = |f: &&mut Family| {
                let first = &space.params[f.params[0]];
                first.levels == p.levels && first.kind == p.kind
            };
            match families.iter_mut().find(alike) {
                Some(family) => family.params.push(i),
                None => {
                    families.push(Family { params: vec![i], levels: p.levels.len(), ordered: ordered(p) })
                }
            }
        }
        families.retain(|f| f.params.len() > 1);
        if tune("FAM", 1.0) == 0.0 {
            families.clear();
        }
        let axes = space
            .params
            .iter()
            .enumerate()
            .filter(|(_, p)| p.levels.len() > 1)
            .map(|(param, p)| Axis { param, levels: p.levels.len(), ordered: ordered(p) })
            .collect();
        Self { axes, families, columns }
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
        for family in &self.families {
            let members = family.params.len() as f64;
            priors.push(prior(tune("E", 0.5) / members, tune("ED", 1.5)));
            if family.ordered {
                priors.push(prior(tune("L", 0.7), tune("LD", 0.8)));
                priors.push(prior(tune("P", 1.0), tune("PD", 0.5)));
            }
            priors.extend(family.params.iter().map(|_| prior(1.0, tune("WD", 0.5))));
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
            families: Vec::new(),
            columns: Vec::new(),
            noise: 0.0,
        };
        for axis in &self.axes {
            let weight = next();
            let cells = Cells::new(axis.levels, axis.ordered.then(|| (next(), next())));
            let factor: Vec<f64> = cells.value.iter().map(|k| 1.0 + weight * k).collect();
            let by =
                |derivative: &[f64]| derivative.iter().zip(&factor).map(|(d, f)| weight * d / f).collect();
            tables.by_weight.push(by(&cells.value));
            tables.by_length.push(by(&cells.by_length));
            tables.by_bend.push(by(&cells.by_bend));
            tables.factor.push(factor);
        }
        for family in &self.families {
            let weight = next();
            let cells = Cells::new(family.levels, family.ordered.then(|| (next(), next()))).scale(weight);
            let weights = family.params.iter().map(|_| next()).collect();
            tables.families.push(FamilyTable { cells, weights });
        }
        for _ in 0..self.columns {
            tables.columns.push([next(), next(), next()]);
        }
        tables.noise = next();
        tables
    }

    /// The covariance of two inputs, without noise.
    pub(crate) fn covariance(&self, tables: &Tables, a: &Input, b: &Input) -> f64 {
        self.product(tables, a, b) + self.family_terms(tables, a, b) + self.column_terms(tables, a, b)
    }

    fn family_terms(&self, tables: &Tables, a: &Input, b: &Input) -> f64 {
        let mut k = 0.0;
        for (family, table) in self.families.iter().zip(&tables.families) {
            for (&g, wg) in family.params.iter().zip(&table.weights) {
                let row = &table.cells.value[a.levels[g] * family.levels..][..family.levels];
                let along: f64 =
                    family.params.iter().zip(&table.weights).map(|(&h, w)| w * row[b.levels[h]]).sum();
                k += wg * along;
            }
        }
        k
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
        // As much for families: Σ w_ij w_g w_h over the pairs of levels; and each member's part of the term.
        let mut shared: Vec<Vec<f64>> =
            self.families.iter().map(|f| vec![0.0; f.levels * f.levels]).collect();
        let mut parts: Vec<Vec<f64>> = self.families.iter().map(|f| vec![0.0; f.params.len()]).collect();
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
                for (f, family) in self.families.iter().enumerate() {
                    let table = &tables.families[f];
                    for (g, &p) in family.params.iter().enumerate() {
                        for (h, &q) in family.params.iter().enumerate() {
                            let cell = a.levels[p] * family.levels + b.levels[q];
                            let both = weight * table.weights[g] * table.weights[h];
                            shared[f][cell] += both;
                            let k = both * table.cells.value[cell];
                            parts[f][g] += k;
                            parts[f][h] += k;
                        }
                    }
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
        for (f, family) in self.families.iter().enumerate() {
            let cells = &tables.families[f].cells;
            gradient.push(dot(&shared[f], &cells.value));
            if family.ordered {
                gradient.push(dot(&shared[f], &cells.by_length));
                gradient.push(dot(&shared[f], &cells.by_bend));
            }
            gradient.extend(&parts[f]);
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
