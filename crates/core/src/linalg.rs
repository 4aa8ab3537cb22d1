//! The little dense linear algebra that a Gaussian process needs: Cholesky, triangular solves, the inverse.
//!
//! Square matrices are row-major slices of `n * n`. Sums run in a fixed order, so that results are the same on every run.

/// Right sides that are solved together.
pub const LANES: usize = 8;

/// The sum of products, in four fixed lanes that compilers vectorise.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0f64; 4];
    let (a4, b4) = (a.chunks_exact(4), b.chunks_exact(4));
    let tail: f64 = a4.remainder().iter().zip(b4.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a4.zip(b4) {
        for lane in 0..4 {
            lanes[lane] += x[lane] * y[lane];
        }
    }
    (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]) + tail
}

/// A lower triangular factor `L` with `L Lᵀ = A`.
#[derive(Clone, Debug)]
pub struct Cholesky {
    n: usize,
    lower: Vec<f64>,
}

impl Cholesky {
    /// Factors a symmetric matrix, of which the lower triangle is read; `None` when it is not positive definite.
    pub fn new(mut a: Vec<f64>, n: usize) -> Option<Self> {
        debug_assert_eq!(a.len(), n * n);
        for i in 0..n {
            let (above, row) = a.split_at_mut(i * n);
            for j in 0..i {
                let other = &above[j * n..j * n + j + 1];
                row[j] = (row[j] - dot(&row[..j], &other[..j])) / other[j];
            }
            let pivot = row[i] - dot(&row[..i], &row[..i]);
            if !pivot.is_finite() || pivot <= 0.0 {
                return None;
            }
            row[i] = pivot.sqrt();
            row[i + 1..n].fill(0.0);
        }
        Some(Self { n, lower: a })
    }

    /// The logarithm of the determinant of `A`.
    pub fn log_determinant(&self) -> f64 {
        (0..self.n).map(|i| 2.0 * self.lower[i * self.n + i].ln()).sum()
    }

    /// Overwrites `b` with `L⁻¹ b`.
    pub fn forward(&self, b: &mut [f64]) {
        for i in 0..self.n {
            let row = &self.lower[i * self.n..i * self.n + i + 1];
            b[i] = (b[i] - dot(&row[..i], &b[..i])) / row[i];
        }
    }

    /// [`Cholesky::forward`] for several right sides at once, a lane each.
    pub fn forward_lanes(&self, b: &mut [[f64; LANES]]) {
        for i in 0..self.n {
            let row = &self.lower[i * self.n..i * self.n + i + 1];
            let (done, rest) = b.split_at_mut(i);
            let mut sum = rest[0];
            for (l, lanes) in row.iter().zip(done.iter()) {
                for (s, x) in sum.iter_mut().zip(lanes) {
                    *s -= l * x;
                }
            }
            rest[0] = sum.map(|s| s / row[i]);
        }
    }

    /// Overwrites `b` with `L⁻ᵀ b`.
    pub fn backward(&self, b: &mut [f64]) {
        for i in (0..self.n).rev() {
            b[i] /= self.lower[i * self.n + i];
            let x = b[i];
            for (target, l) in b[..i].iter_mut().zip(&self.lower[i * self.n..i * self.n + i]) {
                *target -= l * x;
            }
        }
    }

    /// Overwrites `b` with `A⁻¹ b`.
    pub fn solve(&self, b: &mut [f64]) {
        self.forward(b);
        self.backward(b);
    }

    /// `A⁻¹`, both triangles.
    pub fn inverse(&self) -> Vec<f64> {
        let n = self.n;
        // Row j of `columns` is column j of L⁻¹, which starts at j.
        let mut columns = vec![0.0; n * n];
        for j in 0..n {
            let column = &mut columns[j * n..(j + 1) * n];
            column[j] = 1.0 / self.lower[j * n + j];
            for i in j + 1..n {
                let row = &self.lower[i * n..i * n + i + 1];
                column[i] = -dot(&row[j..i], &column[j..i]) / row[i];
            }
        }
        let mut inverse = vec![0.0; n * n];
        for i in 0..n {
            for j in 0..=i {
                let value = dot(&columns[i * n + i..(i + 1) * n], &columns[j * n + i..(j + 1) * n]);
                inverse[i * n + j] = value;
                inverse[j * n + i] = value;
            }
        }
        inverse
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use autotune_search::Random;

    #[test]
    fn solves_and_inverts() {
        for n in [1usize, 2, 5, 9, 16] {
            let mut random = Random::new(n as u64, 0, 0);
            let b: Vec<f64> = (0..n * n).map(|_| random.normal()).collect();
            let mut a = vec![0.0; n * n];
            for i in 0..n {
                for j in 0..n {
                    a[i * n + j] =
                        dot(&b[i * n..(i + 1) * n], &b[j * n..(j + 1) * n]) + if i == j { 0.5 } else { 0.0 };
                }
            }
            let factor = Cholesky::new(a.clone(), n).unwrap();
            let x: Vec<f64> = (0..n).map(|_| random.normal()).collect();
            let mut y: Vec<f64> = (0..n).map(|i| dot(&a[i * n..(i + 1) * n], &x)).collect();
            factor.solve(&mut y);
            assert!(x.iter().zip(&y).all(|(p, q)| (p - q).abs() < 1e-8));
            let mut lanes: Vec<[f64; LANES]> = b.iter().take(n).map(|v| [*v; LANES]).collect();
            let mut one = b[..n].to_vec();
            factor.forward_lanes(&mut lanes);
            factor.forward(&mut one);
            assert!(lanes.iter().zip(&one).all(|(l, x)| l.iter().all(|v| (v - x).abs() < 1e-9)));
            let inverse = factor.inverse();
            for i in 0..n {
                for j in 0..n {
                    let product = dot(&a[i * n..(i + 1) * n], &inverse[j * n..(j + 1) * n]);
                    assert!((product - f64::from(u8::from(i == j))).abs() < 1e-8);
                }
            }
        }
    }

    #[test]
    fn what_is_not_positive_definite_is_refused() {
        assert!(Cholesky::new(vec![1.0, 2.0, 2.0, 1.0], 2).is_none());
        assert!(Cholesky::new(vec![f64::NAN], 1).is_none());
        let identity = Cholesky::new(vec![2.0, 0.0, 0.0, 8.0], 2).unwrap();
        assert!((identity.log_determinant() - 16f64.ln()).abs() < 1e-12);
    }
}
