//! Hyperparameters by maximum a posteriori: `argmin`'s L-BFGS with More-Thuente line search, always from the priors' means, so
//! that the result depends on the data only.

use std::cell::RefCell;

use argmin::core::{CostFunction, Error, Executor, Gradient};
use argmin::solver::linesearch::MoreThuenteLineSearch;
use argmin::solver::quasinewton::LBFGS;

use super::kernel::{HyperPrior, Input, Inputs, Kernel};
use autotune_core::linalg::{Cholesky, dot};

/// Steps of L-BFGS, and how many of them it remembers; the posterior is flat long before it is at rest.
const STEPS: u64 = 40;
const MEMORY: usize = 7;
/// The steepness, and the gain of a step, under which the search is at rest.
const FLAT: f64 = 1e-2;
const SETTLED: f64 = 1e-3;
/// The cost of hyperparameters whose matrix has no factor.
const REFUSED: f64 = 1e10;

/// The data of one fit.
pub(crate) struct Evidence<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) each: &'a [Input],
    pub(crate) inputs: &'a Inputs,
    /// About unit variance, mean zero.
    pub(crate) outputs: &'a [f64],
    /// Known noise variance of each output.
    pub(crate) noise: &'a [f64],
    pub(crate) priors: &'a [HyperPrior],
}

impl Evidence<'_> {
    /// The negative logarithm of likelihood times prior, and its gradient (Rasmussen and Williams 2006, eq. 5.8 and 5.9).
    pub(crate) fn cost_and_gradient(&self, theta: &[f64]) -> (f64, Vec<f64>) {
        let n = self.each.len();
        let tables = self.kernel.tables(theta);
        let mut k = self.kernel.matrix(&tables, self.each, self.inputs);
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
        let mut gradient = self.kernel.gradient(&tables, self.each, self.inputs, &w);
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

/// What was computed of one point: argmin asks for cost and gradient apart.
#[derive(Clone)]
struct Seen {
    z: Vec<f64>,
    cost: f64,
    gradient: Vec<f64>,
}

/// The evidence in the priors' own units, `z = (θ - mean) / deviation`, divided by the steepness at the start: the first step of the
/// line search then has length one, a standard deviation of the priors, instead of leaving the world.
struct Scaled<'a> {
    evidence: &'a Evidence<'a>,
    steepness: f64,
    last: RefCell<Option<Seen>>,
    /// The best so far. A line search that fails late, at the end of what numbers can tell, does not take it away.
    best: &'a RefCell<Seen>,
}

impl Evidence<'_> {
    fn theta(&self, z: &[f64]) -> Vec<f64> {
        z.iter().zip(self.priors).map(|(z, p)| p.mean + p.deviation * z).collect()
    }

    fn look(&self, z: &[f64]) -> Seen {
        let (cost, mut gradient) = self.cost_and_gradient(&self.theta(z));
        gradient.iter_mut().zip(self.priors).for_each(|(g, p)| *g *= p.deviation);
        Seen { z: z.to_vec(), cost, gradient }
    }
}

impl Scaled<'_> {
    fn at(&self, z: &[f64]) -> Seen {
        if let Some(seen) = self.last.borrow().as_ref().filter(|seen| seen.z == z) {
            return seen.clone();
        }
        let seen = self.evidence.look(z);
        if seen.cost < self.best.borrow().cost {
            *self.best.borrow_mut() = seen.clone();
        }
        *self.last.borrow_mut() = Some(seen.clone());
        seen
    }
}

impl CostFunction for Scaled<'_> {
    type Param = Vec<f64>;
    type Output = f64;
    fn cost(&self, z: &Vec<f64>) -> Result<f64, Error> {
        Ok(self.at(z).cost / self.steepness)
    }
}

impl Gradient for Scaled<'_> {
    type Param = Vec<f64>;
    type Gradient = Vec<f64>;
    fn gradient(&self, z: &Vec<f64>) -> Result<Vec<f64>, Error> {
        Ok(self.at(z).gradient.into_iter().map(|g| g / self.steepness).collect())
    }
}

/// The hyperparameters of highest posterior density found, and the negative logarithm of that density.
pub(crate) fn fit(evidence: &Evidence<'_>) -> (Vec<f64>, f64) {
    let start = evidence.look(&vec![0.0; evidence.priors.len()]);
    let steepness = dot(&start.gradient, &start.gradient).sqrt().max(1.0);
    let best = RefCell::new(start.clone());
    let solver = LBFGS::new(MoreThuenteLineSearch::new(), MEMORY)
        .with_tolerance_grad(FLAT / steepness)
        .and_then(|s| s.with_tolerance_cost(SETTLED / steepness));
    if let Ok(solver) = solver {
        let problem = Scaled { evidence, steepness, last: RefCell::new(None), best: &best };
        // An error ends the search; what was found until then counts.
        let _ = Executor::new(problem, solver)
            .configure(|state| state.param(start.z).max_iters(STEPS))
            .timer(false)
            .run();
    }
    let best = best.into_inner();
    (evidence.theta(&best.z), best.cost)
}
