//! The likelihood of a loss, given how a candidate was graded.

use serde::Serialize;

/// Verdicts of the reference and of a candidate on the same tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Table {
    /// Solved by both.
    pub both: u64,
    /// Solved by the reference only.
    pub lost: u64,
    /// Solved by the candidate only.
    pub gained: u64,
    /// Solved by neither.
    pub neither: u64,
}

impl Table {
    /// Tasks of both.
    #[must_use]
    pub fn tasks(&self) -> u64 {
        self.both + self.lost + self.gained + self.neither
    }
}

/// How a candidate was graded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Observed {
    /// On the tasks that the reference was graded on: the loss is seen directly.
    Paired(Table),
    /// On its own, where the reference was not graded: the reference's rate is estimated along with the losses.
    Counts {
        /// Tasks that it solved.
        passed: u64,
        /// Tasks that it was graded on.
        tasks: u64,
    },
    /// A score with an error (pass@k of several samples), where single verdicts do not make it up.
    Score {
        /// In [0, 1].
        value: f64,
        /// Its standard error; over zero.
        error: f64,
    },
}

/// Nodes of the rate of flips that cancel out.
const FLIPS: usize = 18;
/// The prior density of that rate is that of Beta(1, 9): one task in ten on average. Greedy answers of a model whose likeliest token
/// agrees in 97 of 100 places differ in most texts, but seldom in the verdict.
const FLIPS_BETA: f64 = 9.0;
const LEAST_PROBABILITY: f64 = 1e-12;

/// Nodes and weights of the rate of flips: geometric, so that a rate of a quarter of a percent is resolved as well as one of a third.
fn flips() -> [(f64, f64); FLIPS] {
    let ratio: f64 = 1.38;
    let mut nodes = [(0.0, 0.0); FLIPS];
    let mut rate: f64 = 0.0025;
    for node in &mut nodes {
        // The density of Beta(1, b) times the width of the cell.
        let density = FLIPS_BETA * (1.0 - rate).max(0.0).powf(FLIPS_BETA - 1.0);
        *node = (rate, density * rate * ratio.ln());
        rate *= ratio;
    }
    nodes
}

impl Observed {
    /// Logarithms of the likelihoods of losses, where the reference's pass rate is `rate`.
    pub(super) fn log_likelihoods(&self, losses: &[f64], rate: f64) -> Vec<f64> {
        match *self {
            Self::Paired(table) => {
                let nodes = flips();
                losses.iter().map(|&loss| paired(&table, loss, &nodes)).collect()
            }
            Self::Counts { passed, tasks } => losses
                .iter()
                .map(|&loss| {
                    let p = (rate - loss).clamp(1e-6, 1.0 - 1e-6);
                    passed as f64 * p.ln() + (tasks - passed.min(tasks)) as f64 * (1.0 - p).ln()
                })
                .collect(),
            Self::Score { value, error } => losses
                .iter()
                .map(|&loss| -0.5 * ((value - (rate - loss)) / error.max(1e-4)).powi(2))
                .collect(),
        }
    }
}

/// Lost and gained tasks are multinomial: of rate `e` of flips that cancel out half goes either way, and the loss is on top of one of
/// them. Integrated over `e`.
fn paired(table: &Table, loss: f64, flips: &[(f64, f64)]) -> f64 {
    let (lost, gained) = (table.lost as f64, table.gained as f64);
    let same = (table.both + table.neither) as f64;
    let term = |&(rate, weight): &(f64, f64)| {
        // No more than all tasks can differ.
        let rate = rate.min((1.0 - loss.abs()).max(0.0));
        let a = (loss.max(0.0) + rate / 2.0).max(LEAST_PROBABILITY);
        let b = ((-loss).max(0.0) + rate / 2.0).max(LEAST_PROBABILITY);
        let c = (1.0 - a - b).max(LEAST_PROBABILITY);
        weight.ln() + lost * a.ln() + gained * b.ln() + same * c.ln()
    };
    log_sum(flips.iter().map(term))
}

/// The logarithm of a sum of exponentials.
pub(super) fn log_sum(terms: impl Iterator<Item = f64> + Clone) -> f64 {
    let most = terms.clone().fold(f64::NEG_INFINITY, f64::max);
    if most == f64::NEG_INFINITY {
        return most;
    }
    most + terms.map(|t| (t - most).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn likeliest(observed: Observed, rate: f64) -> f64 {
        let losses: Vec<f64> = (-40..=60).map(|i| f64::from(i) / 100.0).collect();
        let logs = observed.log_likelihoods(&losses, rate);
        let best = logs.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
        losses[best]
    }

    #[test]
    fn the_likeliest_loss_is_the_imbalance_of_the_flips() {
        let table =
            |lost, gained| Observed::Paired(Table { both: 50, lost, gained, neither: 100 - lost - gained });
        assert!((likeliest(table(30, 0), 0.5) - 0.2).abs() < 0.02);
        assert!(likeliest(table(5, 5), 0.5).abs() < 0.005);
        assert!((likeliest(table(5, 20), 0.5) + 0.1).abs() < 0.02);
    }

    #[test]
    fn unpaired_verdicts_are_held_against_the_rate() {
        assert!((likeliest(Observed::Counts { passed: 30, tasks: 100 }, 0.5) - 0.2).abs() < 1e-9);
        assert!((likeliest(Observed::Score { value: 0.6, error: 0.05 }, 0.5) + 0.1).abs() < 1e-9);
    }

    #[test]
    fn extreme_tables_have_a_likelihood() {
        for table in [
            Table { lost: 40, ..Table::default() },
            Table { gained: 40, ..Table::default() },
            Table::default(),
        ] {
            let logs = Observed::Paired(table).log_likelihoods(&[-1.0, -0.5, 0.0, 0.5, 1.0], 0.5);
            assert!(logs.iter().all(|l| l.is_finite()), "{table:?}: {logs:?}");
        }
    }
}
