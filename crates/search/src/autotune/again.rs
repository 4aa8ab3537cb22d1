//! What timing a complete trial once more is worth: the knowledge gradient (Frazier, Powell and Dayanik 2009) of the hypervolume.
//!
//! Another run of variance `σ²` moves the model's mean at the trial's point by a normal step of variance `τ² = s⁴ / (s² + σ²)`, `s²` being
//! the variance there now. Against the front of all others, the trial adds what its mean dominates; after the run it adds on average what
//! a normal loss of deviation `τ` dominates. The difference is never negative, and large where the trial's place on the front is in doubt.
//! What was measured without error stays as it is. It competes with new candidates by its worth for the same work, and is not asked for where it promises as little as ends a study.

use super::ehvi::Boxes;
use super::model::Models;
use crate::{History, Problem, dominates, pareto_front};

/// A trial is timed once more at most so often.
const MOST: u32 = 3;

/// A trial that is worth another timing.
pub(super) struct Again {
    /// Its number.
    pub(super) number: u64,
    /// The hypervolume that is expected of it, for the work of one trial.
    pub(super) value: f64,
}

/// What is known of one trial.
pub(super) struct Member {
    /// Its number; none for what is not measured, or cannot be once more.
    pub(super) number: Option<u64>,
    /// Its losses, by the models' means.
    pub(super) losses: Vec<f64>,
    /// The models' standard deviations.
    pub(super) deviations: Vec<f64>,
}

/// Whether an observation can be timed once more.
pub(super) fn can_repeat(observation: &crate::Observation) -> bool {
    observation.exact && observation.repeats.is_some_and(|n| n < MOST)
}

/// The trial that is most worth another timing, if any is; `front` are the members on the front.
pub(super) fn best(
    problem: &dyn Problem,
    history: &History,
    models: &Models,
    members: &[Member],
    front: &[usize],
    reference: &[f64],
) -> Option<Again> {
    let repeat = problem.repeat().filter(|r| r.cost > 0.0)?;
    let on_front: Vec<Vec<f64>> = front.iter().map(|&i| members[i].losses.clone()).collect();
    let boxes = Boxes::new(&on_front, reference)?;
    let mut best: Option<Again> = None;
    for (i, member) in members.iter().enumerate() {
        let Some(number) = member.number else { continue };
        let Ok(at) = history.observations.binary_search_by_key(&number, |o| o.number) else { continue };
        let observation = &history.observations[at];
        let moved: Vec<(f64, f64)> = (0..reference.len())
            .map(|objective| {
                let mean = member.losses[objective];
                if !repeat.objectives.get(objective).copied().unwrap_or(false) {
                    return (mean, 0.0);
                }
                let variance = member.deviations[objective].powi(2);
                let runs = f64::from(1 + observation.repeats.unwrap_or(0));
                let error = observation.loss_error(problem, objective).unwrap_or(0.0);
                if error <= 0.0 {
                    return (mean, 0.0);
                }
                let noise = models.noise(objective).powi(2) + error.powi(2) * runs;
                let step = if variance > 0.0 { variance / (variance + noise).sqrt() } else { 0.0 };
                (mean, step)
            })
            .collect();
        let still: Vec<(f64, f64)> = moved.iter().map(|(mean, _)| (*mean, 0.0)).collect();
        let others;
        let against = if front.contains(&i) {
            others = Boxes::new(&front_without(members, front, i), reference)?;
            &others
        } else {
            &boxes
        };
        let value = (against.expected(&moved) - against.expected(&still)).max(0.0) / repeat.cost;
        if value > best.as_ref().map_or(0.0, |b| b.value) {
            best = Some(Again { number, value });
        }
    }
    best
}

/// The front of all members but one that is on it: its other members, and what that one alone dominated.
fn front_without(members: &[Member], front: &[usize], without: usize) -> Vec<Vec<f64>> {
    let others: Vec<&Vec<f64>> =
        front.iter().filter(|&&j| j != without).map(|&j| &members[j].losses).collect();
    let gone = &members[without].losses;
    let freed = members.iter().enumerate().filter(|(j, m)| {
        *j != without
            && !front.contains(j)
            && (m.losses == *gone || dominates(gone, &m.losses))
            && !others.iter().any(|o| dominates(o, &m.losses))
    });
    let mut rest: Vec<Vec<f64>> = freed.map(|(_, m)| m.losses.clone()).collect();
    rest.extend(others.into_iter().cloned());
    pareto_front(&rest).into_iter().map(|j| rest[j].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::{MOST, Member, front_without};
    use crate::testing::Table;
    use crate::{Ask, Estimate, History, Problem, Random, SamplerKind, pareto_front};

    /// Every point of a small grid, measured; the first objective has an interval of so much to either side.
    fn measured(cost: Option<f64>, doubt: f64) -> (Table, History) {
        let mut table = Table::grid(&[3, 4]);
        table.repeat_cost = cost;
        let mut history = History::default();
        for number in 0..12 {
            let point = crate::feasible::nth(table.space(), number);
            let mut trial = table.observe(number, point);
            // Neither measured without error nor told by the levels.
            let shift = doubt * ((number * 7 % 5) as f64 - 2.0);
            let value = trial.objectives[0].unwrap().value + shift;
            trial.objectives[0] =
                Some(Estimate { value, low: value - 2.0 * doubt, high: value + 2.0 * doubt });
            trial.repeats = Some(0);
            history.observations.push(trial);
        }
        (table, history)
    }

    #[test]
    fn what_is_in_doubt_is_timed_once_more_and_not_for_ever() {
        let (table, mut history) = measured(Some(0.3), 0.8);
        let mut asked = 0;
        loop {
            match SamplerKind::Autotune.sampler().ask(&table, &history, 1, 12) {
                Ask::Again(number) => {
                    let trial = &mut history.observations[number as usize];
                    let repeats = trial.repeats.unwrap() + 1;
                    assert!(repeats <= MOST);
                    trial.repeats = Some(repeats);
                    asked += 1;
                }
                other => {
                    assert_eq!(other, Ask::Exhausted);
                    break;
                }
            }
        }
        assert!((1..=36).contains(&asked), "{asked}");
    }

    #[test]
    fn without_a_member_the_front_is_that_of_all_others() {
        let mut random = Random::new(3, 0, 0);
        for _ in 0..50 {
            // Few different values, so that there are ties.
            let losses: Vec<Vec<f64>> =
                (0..30).map(|_| (0..3).map(|_| random.below(6) as f64).collect()).collect();
            let members: Vec<Member> = losses
                .iter()
                .map(|l| Member { number: None, losses: l.clone(), deviations: vec![0.0; 3] })
                .collect();
            let front = pareto_front(&losses);
            for &i in &front {
                let mut rest = losses.clone();
                rest.remove(i);
                let of_all: Vec<Vec<f64>> =
                    pareto_front(&rest).into_iter().map(|j| rest[j].clone()).collect();
                let found = front_without(&members, &front, i);
                let volume = |front: &[Vec<f64>]| crate::hypervolume(front, &[7.0; 3]);
                assert!((volume(&found) - volume(&of_all)).abs() < 1e-9, "{losses:?} without {i}");
            }
        }
    }

    #[test]
    fn nothing_is_timed_again_where_that_is_not_offered_or_nothing_is_in_doubt() {
        for (cost, doubt) in [(None, 0.8), (Some(0.3), 0.0)] {
            let (table, history) = measured(cost, doubt);
            assert_eq!(
                SamplerKind::Autotune.sampler().ask(&table, &history, 1, 12),
                Ask::Exhausted,
                "{cost:?}"
            );
        }
    }
}
