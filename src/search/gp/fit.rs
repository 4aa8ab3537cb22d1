//! Hyperparameters by maximum a posteriori: `argmin`'s L-BFGS with More-Thuente line search, always from the priors' means, so
//! that the result depends on the data only.

use std::cell::RefCell;

use argmin::core::{CostFunction, Error, Executor, Gradient, State};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::quasinewton::LBFGS;

use super::kernel::{HyperPrior, Input, Kernel};
use super::linalg::{Cholesky, dot};

/// Steps of L-BFGS; the posterior is flat long before it is at rest.
const STEPS: u64 = 25;
/// The cost of hyperparameters whose matrix has no factor.
const REFUSED: f64 = 1e10;

/// The data of one fit.
pub(crate) struct Evidence<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) inputs: &'a [Input],
    /// About unit variance, mean zero.
    pub(crate) outputs: &'a [f64],
    /// Known noise variance of each output.
    pub(crate) noise: &'a [f64],
    pub(crate) priors: &'a [HyperPrior],
}

impl Evidence<'_> {
    /// The negative logarithm of likelihood times prior, and its gradient (Rasmussen and Williams 2006, eq. 5.8 and 5.9).
    pub(crate) fn cost_and_gradient(&self, theta: &[f64]) -> (f64, Vec<f64>) {
        let n = self.inputs.len();
        let tables = self.kernel.tables(theta);
        let mut k = self.kernel.matrix(&tables, self.inputs);
        for i in 0..n {
            k[i * n + i] += self.noise[i] + tables.noise + JITTER;
        }
        let Some(factor) = Cholesky::new(k, n) else { return (REFUSED, vec![0.0; theta.len()]) };
        let mut alpha = self.outputs.to_vec();
        factor.solve(&mut alpha);
        let mut cost = 0.5 * dot(self.outputs, &alpha)
            + 0.5 * factor.log_determinant()
            + 0.5 * n as f64 * std::f64::consts::TAU.ln();
        // ∂cost/∂θ = ½ tr((K⁻¹ - ααᵀ) ∂K/∂θ)
        let mut w = factor.inverse();
        for i in 0..n {
            for j in 0..n {
                w[i * n + j] -= alpha[i] * alpha[j];
            }
        }
        let mut gradient = self.kernel.gradient(&tables, self.inputs, &w);
        for ((g, t), prior) in gradient.iter_mut().zip(theta).zip(self.priors) {
            let z = (t - prior.mean) / prior.deviation;
            cost += 0.5 * z * z;
            *g += z / prior.deviation;
        }
        (cost, gradient)
    }
}

/// Keeps matrices of near-equal inputs positive definite; outputs have unit variance.
pub(crate) const JITTER: f64 = 1e-6;

/// The last point and what was computed there: argmin asks for cost and gradient apart.
type Last = RefCell<Option<(Vec<f64>, f64, Vec<f64>)>>;

struct Cached<'a> {
    evidence: &'a Evidence<'a>,
    last: Last,
}

impl Cached<'_> {
    fn at(&self, theta: &[f64]) -> (f64, Vec<f64>) {
        if let Some((at, cost, gradient)) = &*self.last.borrow()
            && at == theta
        {
            return (*cost, gradient.clone());
        }
        let (cost, gradient) = self.evidence.cost_and_gradient(theta);
        *self.last.borrow_mut() = Some((theta.to_vec(), cost, gradient.clone()));
        (cost, gradient)
    }
}

impl CostFunction for Cached<'_> {
    type Param = Vec<f64>;
    type Output = f64;
    fn cost(&self, theta: &Vec<f64>) -> Result<f64, Error> {
        Ok(self.at(theta).0)
    }
}

impl Gradient for Cached<'_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;
    fn gradient(&self, theta: &Vec<f64>) -> Result<Vec<f64>, Error> {
        Ok(self.at(theta).1)
    }
}

/// The hyperparameters of highest posterior density found, and the negative logarithm of that density.
pub(crate) fn fit(evidence: &Evidence<'_>) -> (Vec<f64>, f64) {
    let start: Vec<f64> = evidence.priors.iter().map(|p| p.mean).collect();
    let start_cost = evidence.cost_and_gradient(&start).0;
    let solver = LBFGS::new(MoreThuenteLineSearch::new(), 7)
        .with_tolerance_grad(1e-3)
        .and_then(|s| s.with_tolerance_cost(1e-5));
    let Ok(solver) = solver else { return (start, start_cost) };
    let problem = Cached { evidence, last: RefCell::new(None) };
    let run = Executor::new(problem, solver)
        .configure(|state| state.param(start.clone()).max_iters(STEPS))
        .timer(false)
        .run();
    match run.ok().and_then(|r| Some((r.state.get_best_param()?.clone(), r.state.get_best_cost()))) {
        Some((theta, cost)) if cost < start_cost && theta.iter().all(|t| t.is_finite()) => (theta, cost),
        // The search failed or found nothing better.
        _ => (start, start_cost),
    }
}
