//! Which trials may stand on a front, and which do.

use std::cmp::Ordering;

use super::metric::{Family, Metric, PEAK, Reading};
use crate::store::{Direction, Objective, TrialRecord, TrialState};

/// The rule, as the report prints it.
pub const RULE: &str = "A trial is on the front when no other eligible trial is at least as good in every objective and better in one; \
     measured values decide, and the 95 % intervals are shown beside them. Eligible are complete trials whose measured peak memory is within the budget.";

/// Why a trial cannot stand on a front.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Excluded {
    /// Not complete (still running, stopped, infeasible, failed).
    NotComplete,
    /// Its measured peak is over the budget.
    OverBudget,
    /// Nobody measured its peak.
    NoPeak,
    /// An objective is missing, NaN or infinite.
    Missing(String),
}

/// Whether a trial may stand on a front of these objectives.
///
/// # Errors
/// The first reason against it.
pub fn eligible(trial: &TrialRecord, objectives: &[Objective], budget_bytes: u64) -> Result<(), Excluded> {
    if trial.state != TrialState::Complete {
        return Err(Excluded::NotComplete);
    }
    match Reading::of(trial, PEAK) {
        None => return Err(Excluded::NoPeak),
        Some(peak) if peak.value > budget_bytes as f64 => return Err(Excluded::OverBudget),
        Some(_) => {}
    }
    match objectives.iter().find(|o| !Reading::of(trial, &o.metric).is_some_and(|r| r.value.is_finite())) {
        Some(objective) => Err(Excluded::Missing(objective.metric.clone())),
        None => Ok(()),
    }
}

/// A value turned so that less is better.
#[must_use]
pub fn cost(direction: Direction, value: f64) -> f64 {
    match direction {
        Direction::Min => value,
        Direction::Max => -value,
    }
}

/// The indices of the rows (costs, less is better, all finite, equal lengths) that no other row dominates, by the first cost.
/// Equal rows do not dominate one another. A row sorted behind another cannot dominate it, so each is compared with the front so far:
/// O(n log n + n × front).
#[must_use]
pub fn non_dominated(costs: &[Vec<f64>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..costs.len()).collect();
    order.sort_by(|&a, &b| compare(&costs[a], &costs[b]).then(a.cmp(&b)));
    let mut front: Vec<usize> = Vec::new();
    for i in order {
        if !front.iter().any(|&f| dominates(&costs[f], &costs[i])) {
            front.push(i);
        }
    }
    front
}

fn compare(a: &[f64], b: &[f64]) -> Ordering {
    a.iter().zip(b).map(|(x, y)| x.total_cmp(y)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
}

/// Whether `a` is nowhere worse than `b`, and better somewhere.
#[must_use]
pub fn dominates(a: &[f64], b: &[f64]) -> bool {
    a.iter().zip(b).all(|(x, y)| x <= y) && a.iter().zip(b).any(|(x, y)| x < y)
}

/// The study's objectives; when it names none, latency, peak memory and the quality that its trials measured.
#[must_use]
pub fn objectives_or_default(declared: Vec<Objective>, trials: &[TrialRecord]) -> Vec<Objective> {
    if !declared.is_empty() {
        return declared;
    }
    let measured = |name: &str| trials.iter().any(|t| t.measurements.contains_key(name));
    let quality =
        ["pass_at_1", "codebleu", "kl_mean", "canonical_nll"].into_iter().find(|name| measured(name));
    [Some("request_latency_p50_ms"), Some(PEAK), quality]
        .into_iter()
        .flatten()
        .map(|name| {
            let metric = Metric::of(name);
            let log = metric.family == Family::Speed;
            Objective { metric: name.into(), direction: metric.direction, log, bound: None, share: None }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_front_is_what_nothing_dominates(
            rows in proptest::collection::vec(proptest::collection::vec(0u8..6, 3), 0..40)
        ) {
            let costs: Vec<Vec<f64>> =
                rows.iter().map(|r| r.iter().map(|x| f64::from(*x)).collect()).collect();
            let mut front = non_dominated(&costs);
            prop_assert!(front.windows(2).all(|w| costs[w[0]][0] <= costs[w[1]][0]));
            front.sort_unstable();
            let brute: Vec<usize> = (0..costs.len())
                .filter(|&i| !(0..costs.len()).any(|j| dominates(&costs[j], &costs[i])))
                .collect();
            prop_assert_eq!(front, brute);
        }
    }
}
