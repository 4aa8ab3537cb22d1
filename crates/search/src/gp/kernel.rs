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

use autotune_core::space::{Param, ParamKind, Space, Value};

/// The share of plain equality in the covariance of ordered levels: each may be a little off what its neighbours tell.
const EQUALITY: f64 = 0.1;

// Where fits start and what they are drawn to, with the standard deviation of the logarithm, for outputs of unit variance. Chosen by
// experiment on the landscapes of `benches/search`.
/// `s²`.
const SCALE: (f64, f64) = (2.0, 1.5);
/// The sum of all `a`, and of a family's `e w²`.
const EFFECT: (f64, f64) = (0.5, 1.5);
/// The length of an axis, whose ranks go from 0 to 1, and the exponent that bends it.
const LENGTH: (f64, f64) = (0.7, 0.8);
const BEND: (f64, f64) = (1.0, 0.5);
/// A family member's `w`.
const MEMBER: (f64, f64) = (1.0, 0.5);
/// `b`, `c` and the length of a column.
const COLUMN: [(f64, f64); 3] = [(0.3, 1.5), (0.1, 1.5), (1.0, 0.5)];
/// Noise beyond what the measurements' intervals tell.
const NOISE: (f64, f64) = (1e-3, 1.5);

/// One input: the levels, and the columns (standardised).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Input {
    pub(crate) levels: Vec<usize>,
    pub(crate) columns: Vec<f64>,
}

/// Inputs column by column, so that rows of covariances are computed without chasing pointers.
#[derive(Clone, Debug)]
pub(crate) struct Inputs {
    /// For each parameter, the level of every input.
    pub(super) levels: Vec<Vec<u32>>,
    /// For each column, the value of every input.
    pub(super) columns: Vec<Vec<f64>>,
}

impl Inputs {
    pub(crate) fn new(inputs: &[Input]) -> Self {
        let (params, columns) = inputs.first().map_or((0, 0), |i| (i.levels.len(), i.columns.len()));
        Self {
            levels: (0..params).map(|p| inputs.iter().map(|i| i.levels[p] as u32).collect()).collect(),
            columns: (0..columns).map(|c| inputs.iter().map(|i| i.columns[c]).collect()).collect(),
        }
    }
}

/// One parameter that has a choice.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    /// Its index in the space.
    pub(super) param: usize,
    pub(super) levels: usize,
    /// Whether neighbouring levels are alike. Two levels have no order to speak of.
    pub(super) ordered: bool,
}

/// Parameters with the same levels: the weight types of several groups of layers, say.
#[derive(Clone, Debug)]
pub(super) struct Family {
    /// Their indices in the space.
    pub(super) params: Vec<usize>,
    /// For each of them, which of the family's levels each of its own is.
    pub(super) places: Vec<Vec<usize>>,
    pub(super) levels: usize,
    pub(super) ordered: bool,
}

/// Which hyperparameters there are, and where: `[ln s², (ln a, [ln length, ln bend]) per axis, (ln e, [ln length, ln bend], ln w per
/// member) per family, (ln b, ln c, ln length) per column, ln noise]`.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    pub(super) axes: Vec<Axis>,
    pub(super) families: Vec<Family>,
    pub(super) columns: usize,
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
    pub(super) scale: f64,
    /// `1 + a k(l, l')` for each axis.
    pub(super) factor: Vec<Vec<f64>>,
    /// The derivatives of the logarithm of that factor by `ln a` and by `ln length`.
    pub(super) by_weight: Vec<Vec<f64>>,
    pub(super) by_length: Vec<Vec<f64>>,
    pub(super) by_bend: Vec<Vec<f64>>,
    pub(super) families: Vec<FamilyTable>,
    /// `b`, `c`, `length` for each column.
    pub(super) columns: Vec<[f64; 3]>,
    /// The variance of independent noise on top of the known one.
    pub(crate) noise: f64,
}

/// A family at one setting.
#[derive(Clone, Debug)]
pub(super) struct FamilyTable {
    /// `e k(l, l')`, and its derivatives by `ln length` and `ln bend` (empty without an order).
    pub(super) cells: Cells,
    pub(super) weights: Vec<f64>,
}

/// A covariance of levels, row by row, with its derivatives by the logarithms of its length and its bend.
#[derive(Clone, Debug, Default)]
pub(super) struct Cells {
    pub(super) value: Vec<f64>,
    pub(super) by_length: Vec<f64>,
    pub(super) by_bend: Vec<f64>,
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
        let rho = EQUALITY;
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
        // The longest lists of levels first: a shorter one may be a part of them.
        let mut order: Vec<usize> =
            (0..space.params.len()).filter(|&i| space.params[i].levels.len() > 2).collect();
        order.sort_by_key(|&i| (std::cmp::Reverse(space.params[i].levels.len()), i));
        let mut families: Vec<Family> = Vec::new();
        for i in order {
            let p = &space.params[i];
            let home = families.iter_mut().find_map(|f| Some((places(&space.params[f.params[0]], p)?, f)));
            match home {
                Some((places, family)) => {
                    family.params.push(i);
                    family.places.push(places);
                }
                None => families.push(Family {
                    params: vec![i],
                    places: vec![(0..p.levels.len()).collect()],
                    levels: p.levels.len(),
                    ordered: ordered(p),
                }),
            }
        }
        families.retain(|f| f.params.len() > 1);
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
        let shape = [prior(LENGTH.0, LENGTH.1), prior(BEND.0, BEND.1)];
        let mut priors = vec![prior(SCALE.0, SCALE.1)];
        for axis in &self.axes {
            priors.push(prior(EFFECT.0 / self.axes.len() as f64, EFFECT.1));
            priors.extend(shape.iter().filter(|_| axis.ordered));
        }
        for family in &self.families {
            priors.push(prior(EFFECT.0 / family.params.len() as f64, EFFECT.1));
            priors.extend(shape.iter().filter(|_| family.ordered));
            priors.extend(family.params.iter().map(|_| prior(MEMBER.0, MEMBER.1)));
        }
        for _ in 0..self.columns {
            priors.extend(COLUMN.map(|(value, deviation)| prior(value, deviation)));
        }
        priors.push(prior(NOISE.0, NOISE.1));
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
}

/// Where the levels of `p` are among those of `of`: all of them, in the same order where there is one. Numbers are not told by their
/// values alone: of two parameters that both go from 1 to 4, nothing need be alike, unless their lists are the same.
fn places(of: &Param, p: &Param) -> Option<Vec<usize>> {
    if of.kind != p.kind {
        return None;
    }
    let places: Vec<usize> =
        p.levels.iter().map(|l| of.levels.iter().position(|o| o == l)).collect::<Option<_>>()?;
    let named = p.levels.iter().all(|l| matches!(l, Value::Text(_)));
    let in_order = places.windows(2).all(|w| w[0] < w[1]);
    ((named && (in_order || p.kind == ParamKind::Categorical)) || of.levels == p.levels).then_some(places)
}

/// Matérn 5/2 at a distance, and its derivative by the logarithm of the length.
pub(super) fn matern(distance: f64, length: f64) -> (f64, f64) {
    let r = 5f64.sqrt() * distance / length;
    let e = (-r).exp();
    ((1.0 + r + r * r / 3.0) * e, r * r * (1.0 + r) / 3.0 * e)
}
