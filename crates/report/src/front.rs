//! Which trials may stand on a front, and which do.

use crate::metric::OfTrial as _;
use autotune_core::metric::names;
use std::cmp::Ordering;

use super::judged::Judged;
use super::metric::{Family, Metric, PEAK, Reading};
use autotune_store::{Direction, Objective, TrialRecord, TrialState};

/// The rule, as the report prints it.
pub const RULE: &str = "A trial is on the front if no other eligible trial dominates it. A trial dominates another if it is at least as good in every objective \
     by its measured value, and significantly better in one: their 95 % intervals do not overlap (peak memory has no interval: a difference of 0.5 % \
     counts, which is how much it varies from one process to the next). A pass rate counts by its estimate, not by the tasks that happened to pass: at \
     least as good means with a probability of 95 %, given all verdicts and divergences. Eligible are complete trials whose measured peak memory is within \
     the budget.";

/// The probability from which a trial counts as at least as good in an estimated quality: a front loses few of its members to
/// others that only seem as good.
const AS_GOOD: f64 = 0.95;
/// The probability from which it counts as significantly better, as where a 95 % interval of the difference excludes zero.
const BETTER: f64 = 0.975;

/// Peaks of one configuration in several processes lie within this share of one another.
const PEAK_VARIES: f64 = 0.005;

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

/// The cost of a trial in one objective, with the ends of its 95 % interval; less is better.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Interval {
    value: f64,
    low: f64,
    high: f64,
}

impl Interval {
    fn of(trial: &TrialRecord, objective: &Objective) -> Self {
        let Some(reading) = Reading::of(trial, &objective.metric) else {
            return Self { value: f64::INFINITY, low: f64::INFINITY, high: f64::INFINITY };
        };
        let value = reading.value;
        let varies = if objective.metric == PEAK { PEAK_VARIES / 2.0 * value.abs() } else { 0.0 };
        let (low, high) = reading.interval().unwrap_or((value - varies, value + varies));
        let (a, b) = (cost(objective.direction, low), cost(objective.direction, high));
        Self { value: cost(objective.direction, value), low: a.min(b), high: a.max(b) }
    }
}

/// The indices of the trials that no other dominates significantly ([`RULE`]), by the first objective. An objective that is estimated
/// ([`Judged`]) goes by the joint posterior.
#[must_use]
pub fn front_of(trials: &[&TrialRecord], judged: &Judged<'_>) -> Vec<usize> {
    let costs: Vec<Vec<Interval>> =
        trials.iter().map(|t| judged.objectives.iter().map(|o| Interval::of(t, o)).collect()).collect();
    let estimated = judged.estimated();
    surely_non_dominated(&costs, |a, b| {
        let quality = estimated.zip(judged.estimates).map(|(i, estimates)| {
            let (a, b) = (trials[a].number, trials[b].number);
            let as_good = move || estimates.at_least_as_good(a, b).is_some_and(|p| p >= AS_GOOD);
            let better = move || estimates.better(a, b).is_some_and(|p| p >= BETTER);
            (i, as_good, better)
        });
        surely_dominates(&costs[a], &costs[b], quality)
    })
}

/// The relation is not transitive (intervals are of different widths), so each row is compared with all others; the front first, for it
/// dominates most.
fn surely_non_dominated(costs: &[Vec<Interval>], dominates: impl Fn(usize, usize) -> bool) -> Vec<usize> {
    let values = |i: usize| costs[i].iter().map(|c| c.value).collect::<Vec<_>>();
    let mut order: Vec<usize> = (0..costs.len()).collect();
    order.sort_by(|&a, &b| compare(&values(a), &values(b)).then(a.cmp(&b)));
    let (mut front, mut behind): (Vec<usize>, Vec<usize>) = (Vec::new(), Vec::new());
    for (place, &i) in order.iter().enumerate() {
        let after = &order[place + 1..];
        let dominated = front.iter().chain(&behind).chain(after).any(|&f| dominates(f, i));
        if dominated { behind.push(i) } else { front.push(i) }
    }
    front
}

/// Whether `a` is nowhere worse than `b` by its value, and somewhere significantly better. Of one objective others may tell: whether `a` is
/// at least as good, and whether it is better.
fn surely_dominates(
    a: &[Interval],
    b: &[Interval],
    told: Option<(usize, impl Fn() -> bool, impl Fn() -> bool)>,
) -> bool {
    let is_told = |i: usize| told.as_ref().is_some_and(|t| t.0 == i);
    let values = || a.iter().zip(b).enumerate().filter(|(i, _)| !is_told(*i)).map(|(_, pair)| pair);
    values().all(|(x, y)| x.value <= y.value)
        && told.as_ref().is_none_or(|(_, as_good, _)| as_good())
        && (values().any(|(x, y)| x.high < y.low) || told.as_ref().is_some_and(|(.., better)| better()))
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
    let quality = [names::PASS_AT_1, names::CODEBLEU, names::KL_MEAN, names::CANONICAL_NLL]
        .into_iter()
        .find(|name| measured(name));
    [Some(names::REQUEST_LATENCY_P50_MS), Some(PEAK), quality]
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

    fn plain(costs: &[Vec<Interval>]) -> Vec<usize> {
        type Told = fn() -> bool;
        surely_non_dominated(costs, |a, b| {
            surely_dominates(&costs[a], &costs[b], None::<(usize, Told, Told)>)
        })
    }

    #[test]
    fn what_may_be_chance_dominates_nothing() {
        let known = |value| Interval { value, low: value, high: value };
        let about = |value: f64| Interval { value, low: value - 5.0, high: value + 5.0 };
        // Better in both, but perhaps by chance; then significantly in one.
        let front = |rows: &[[Interval; 2]]| plain(&rows.iter().map(|r| r.to_vec()).collect::<Vec<_>>());
        assert_eq!(front(&[[about(100.0), known(7.0)], [about(103.0), known(7.0)]]), [0, 1]);
        assert_eq!(front(&[[about(100.0), known(7.0)], [about(103.0), known(8.0)]]), [0]);
        assert_eq!(front(&[[about(100.0), known(7.0)], [about(111.0), known(7.0)]]), [0]);
        // The second is dominated by the first; the third by the second alone, for the first is not surely better.
        let wide = Interval { value: 104.0, low: 90.0, high: 110.0 };
        let rows = [[wide, known(1.0)], [known(105.0), known(2.0)], [known(108.0), known(2.0)]];
        assert_eq!(front(&rows), [0]);
        let rows = [[wide, about(1.0)], [known(105.0), known(2.0)], [known(108.0), known(2.0)]];
        assert_eq!(front(&rows), [0, 1]);
    }

    proptest! {
        #[test]
        fn exact_values_give_the_plain_front(
            rows in proptest::collection::vec(proptest::collection::vec(0u8..6, 3), 0..40)
        ) {
            let costs: Vec<Vec<f64>> =
                rows.iter().map(|r| r.iter().map(|x| f64::from(*x)).collect()).collect();
            let exact: Vec<Vec<Interval>> = costs
                .iter()
                .map(|r| r.iter().map(|&value| Interval { value, low: value, high: value }).collect())
                .collect();
            prop_assert_eq!(plain(&exact), non_dominated(&costs));
        }

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
