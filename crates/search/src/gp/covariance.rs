//! Rows, matrices and gradients of the kernel.

use super::kernel::{Input, Inputs, Kernel, Tables, matern};
use autotune_core::linalg::dot;

impl Kernel {
    /// The covariances of one input with the first `out.len()` of many, without noise.
    pub(crate) fn row(&self, tables: &Tables, x: &Input, inputs: &Inputs, out: &mut [f64]) {
        self.product(tables, x, inputs, out);
        for (family, table) in self.families.iter().zip(&tables.families) {
            let n = family.levels;
            let mut along = vec![0.0; n];
            let members = || family.params.iter().zip(&family.places).zip(&table.weights);
            for ((&g, places), wg) in members() {
                let cells = &table.cells.value[places[x.levels[g]] * n..][..n];
                along.iter_mut().zip(cells).for_each(|(a, c)| *a += wg * c);
            }
            for ((&h, places), wh) in members() {
                let weighed: Vec<f64> = places.iter().map(|&place| wh * along[place]).collect();
                for (k, &level) in out.iter_mut().zip(&inputs.levels[h]) {
                    *k += weighed[level as usize];
                }
            }
        }
        for ((x, column), [linear, smooth, length]) in
            x.columns.iter().zip(&inputs.columns).zip(&tables.columns)
        {
            for (k, y) in out.iter_mut().zip(column) {
                *k += linear * x * y + smooth * matern((x - y).abs(), *length).0;
            }
        }
    }

    fn product(&self, tables: &Tables, x: &Input, inputs: &Inputs, out: &mut [f64]) {
        out.fill(tables.scale);
        for (axis, factor) in self.axes.iter().zip(&tables.factor) {
            let row = &factor[x.levels[axis.param] * axis.levels..][..axis.levels];
            for (k, &level) in out.iter_mut().zip(&inputs.levels[axis.param]) {
                *k *= row[level as usize];
            }
        }
    }

    /// The variance of an input, without noise.
    pub(crate) fn variance(&self, tables: &Tables, x: &Input) -> f64 {
        let mut k = tables.scale;
        for (axis, factor) in self.axes.iter().zip(&tables.factor) {
            k *= factor[x.levels[axis.param] * (axis.levels + 1)];
        }
        for (family, table) in self.families.iter().zip(&tables.families) {
            let members = || family.params.iter().zip(&family.places).zip(&table.weights);
            for ((&g, places), wg) in members() {
                let cells = &table.cells.value[places[x.levels[g]] * family.levels..][..family.levels];
                for ((&h, places), wh) in members() {
                    k += wg * wh * cells[places[x.levels[h]]];
                }
            }
        }
        for (x, [linear, smooth, _]) in x.columns.iter().zip(&tables.columns) {
            k += linear * x * x + smooth;
        }
        k
    }

    /// The covariance matrix of inputs, without noise; the lower triangle is filled.
    pub(crate) fn matrix(&self, tables: &Tables, each: &[Input], inputs: &Inputs) -> Vec<f64> {
        let n = each.len();
        let mut k = vec![0.0; n * n];
        for (i, x) in each.iter().enumerate() {
            self.row(tables, x, inputs, &mut k[i * n..][..=i]);
        }
        k
    }

    /// `½ Σ_ij w_ij ∂k_ij/∂θ` for every hyperparameter θ; `w` is symmetric.
    pub(crate) fn gradient(&self, tables: &Tables, each: &[Input], inputs: &Inputs, w: &[f64]) -> Vec<f64> {
        let n = each.len();
        let mut scale = 0.0;
        // Σ w_ij k_ij over the pairs that have a pair of levels, per axis: the tables' derivatives then weigh sums, not pairs.
        let mut sums: Vec<Vec<f64>> = self.axes.iter().map(|a| vec![0.0; a.levels * a.levels]).collect();
        // As much for families: Σ w_ij w_g w_h over the pairs of levels; and each member's part of the term.
        let mut shared: Vec<Vec<f64>> =
            self.families.iter().map(|f| vec![0.0; f.levels * f.levels]).collect();
        let mut parts: Vec<Vec<f64>> = self.families.iter().map(|f| vec![0.0; f.params.len()]).collect();
        let mut columns = vec![[0.0; 3]; self.columns];
        let mut noise = 0.0;
        let mut row = vec![0.0; n];
        for (i, x) in each.iter().enumerate() {
            let weights = &w[i * n..][..=i];
            noise += 0.5 * weights[i] * tables.noise;
            let weight = |j: usize| weights[j] * if i == j { 0.5 } else { 1.0 };
            let row = &mut row[..=i];
            self.product(tables, x, inputs, row);
            row.iter_mut().enumerate().for_each(|(j, k)| *k *= weight(j));
            scale += row.iter().sum::<f64>();
            for (axis, sum) in self.axes.iter().zip(&mut sums) {
                let sum = &mut sum[x.levels[axis.param] * axis.levels..][..axis.levels];
                for (k, &level) in row.iter().zip(&inputs.levels[axis.param]) {
                    sum[level as usize] += k;
                }
            }
            for (f, family) in self.families.iter().enumerate() {
                let (table, levels) = (&tables.families[f], family.levels);
                for (h, &q) in family.params.iter().enumerate() {
                    // Σ_j w_ij over the inputs that have a level of q.
                    let mut at = vec![0.0; levels];
                    for (j, &level) in inputs.levels[q][..=i].iter().enumerate() {
                        at[family.places[h][level as usize]] += weight(j);
                    }
                    for (g, &p) in family.params.iter().enumerate() {
                        let place = family.places[g][x.levels[p]];
                        let cells = &table.cells.value[place * levels..][..levels];
                        let both = table.weights[g] * table.weights[h];
                        let into = &mut shared[f][place * levels..][..levels];
                        into.iter_mut().zip(&at).for_each(|(s, a)| *s += both * a);
                        let k = dot(&at, cells);
                        parts[f][g] += table.weights[h] * k;
                        parts[f][h] += table.weights[g] * k;
                    }
                }
            }
            for (c, sum) in columns.iter_mut().enumerate() {
                let [linear, smooth, length] = tables.columns[c];
                let x = x.columns[c];
                for (j, y) in inputs.columns[c][..=i].iter().enumerate() {
                    let (m, slope) = matern((x - y).abs(), length);
                    sum[0] += weight(j) * linear * x * y;
                    sum[1] += weight(j) * smooth * m;
                    sum[2] += weight(j) * smooth * slope;
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
            gradient.extend(parts[f].iter().zip(&tables.families[f].weights).map(|(p, w)| p * w));
        }
        gradient.extend(columns.iter().flatten());
        gradient.push(noise);
        gradient
    }
}
